# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Directions agree with what the lens models of OpenCV image, and are absent where there is none."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo

from snscf_ros.camera_model import CalibrationError, CameraModel

K = np.array([[420.0, 0.0, 318.3], [0.0, 415.0, 241.7], [0.0, 0.0, 1.0]])
LENSES = {
    "": [],
    "plumb_bob": [-0.28, 0.07, 0.0002, -0.0003, 0.0],
    "rational_polynomial": [0.5, 0.1, 0.0001, -0.0002, 0.01, 0.9, 0.2, 0.02],
    "equidistant": [-0.02, 0.003, -0.002, 0.0004],
}


def info(model: str = "", d=None, width: int = 640, height: int = 480, **fields) -> CameraInfo:
    message = CameraInfo(width=width, height=height, distortion_model=model)
    message.d = [float(value) for value in (LENSES.get(model, []) if d is None else d)]
    message.k = K.flatten().tolist()
    message.p = [400.0, 0, 320, 0, 0, 400.0, 240, 0, 0, 0, 1, 0]
    message.p = [float(value) for value in message.p]
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def imaged(model: str, ray) -> tuple[float, float]:
    """Where a lens images a direction, in our pixels (the first one's middle at 0.5)."""
    ray = np.array(ray, np.float64).reshape(1, 1, 3)
    d = np.array(LENSES[model])
    if model == "equidistant":
        point, _ = cv2.fisheye.projectPoints(ray, np.zeros(3), np.zeros(3), K, d)
    else:
        point, _ = cv2.projectPoints(ray, np.zeros(3), np.zeros(3), K, d)
    return tuple(point.reshape(2) + 0.5)


def around(point, side: float = 20.0):
    return (point[0] - side / 2, point[1] - side / 2, side, side)


@pytest.mark.parametrize("model", LENSES)
@given(x=st.floats(-0.6, 0.6), y=st.floats(-0.45, 0.45))
def test_direction_is_the_one_that_the_lens_images_there(model, x, y):
    bearing = CameraModel(info(model)).bearing(around(imaged(model, (x, y, 1.0))), 640, 480)
    expected = np.array([x, y, 1.0]) / np.linalg.norm([x, y, 1.0])
    assert np.allclose(bearing.direction, expected, atol=1e-4)
    assert math.isclose(np.linalg.norm(bearing.direction), 1.0, abs_tol=1e-9)


@pytest.mark.parametrize("model", LENSES)
@given(x=st.floats(-0.6, 0.6), y=st.floats(-0.45, 0.45), length=st.floats(0.1, 50.0))
def test_point_of_a_direction_is_where_the_lens_images_it_in_a_scaled_image_too(model, x, y, length):
    camera = CameraModel(info(model))
    ray = length * np.array([[x, y, 1.0]])
    point = imaged(model, ray)
    assert camera.points(ray, 640, 480)[0] == pytest.approx(point, abs=1e-6)
    assert camera.points(ray, 320, 240)[0] == pytest.approx(np.array(point) / 2, abs=1e-6)
    if model != "equidistant":
        assert np.isnan(camera.points(-ray, 640, 480)).all()


def test_angular_size_is_the_angle_between_the_sides():
    # 2 atan(s/2f) across the principal point of a lens without distortion
    bearing = CameraModel(info()).bearing((318.8 - 50, 242.2 - 30, 100, 60), 640, 480)
    assert bearing.direction == pytest.approx((0.0, 0.0, 1.0), abs=1e-9)
    assert bearing.angular_width == pytest.approx(2 * math.atan(50 / 420))
    assert bearing.angular_height == pytest.approx(2 * math.atan(30 / 415))


def test_fisheye_sees_beyond_ninety_degrees():
    message = info("equidistant", d=[0.0, 0.0, 0.0, 0.0])
    message.k = [200.0, 0, 319.5, 0, 200.0, 239.5, 0, 0, 1.0]
    message.k = [float(value) for value in message.k]
    theta = math.radians(100)
    bearing = CameraModel(message).bearing(around((320 - 200 * theta, 240.0)), 640, 480)
    assert bearing.direction == pytest.approx((-math.sin(theta), 0.0, math.cos(theta)), abs=1e-6)


def test_where_the_polynomial_has_turned_back_there_is_no_direction():
    # r (1 + k1 r^2) has its maximum at r = 1.09, 0.73 of the plane: nothing is imaged farther out
    calibration = CameraModel(info("plumb_bob", d=[-0.28, 0.0, 0.0, 0.0, 0.0]))
    assert calibration.bearing(around((318 + 0.70 * 420, 240.0), 2.0), 640, 480) is not None
    assert calibration.bearing(around((318 + 0.85 * 420, 240.0), 2.0), 640, 480) is None
    edge = calibration.bearing((318 + 420 * 0.5, 230, 420 * 0.3, 20), 640, 480)
    assert edge is not None and math.isnan(edge.angular_width) and edge.angular_height > 0


def test_scaled_binned_and_cut_images_give_the_same_direction():
    expected = CameraModel(info("plumb_bob")).bearing((100, 200, 40, 60), 640, 480)

    def same(bearing) -> bool:
        return np.allclose(bearing.direction, expected.direction) and math.isclose(
            bearing.angular_width, expected.angular_width, rel_tol=1e-6
        )

    assert same(CameraModel(info("plumb_bob")).bearing((50, 100, 20, 30), 320, 240))
    assert same(CameraModel(info("plumb_bob", binning_x=2, binning_y=2)).bearing((50, 100, 20, 30), 320, 240))
    cut = info("plumb_bob")
    cut.roi.x_offset, cut.roi.y_offset, cut.roi.width, cut.roi.height = 80, 150, 200, 120
    assert same(CameraModel(cut).bearing((20, 50, 40, 60), 200, 120))


def test_rectified_images_follow_p():
    bearing = CameraModel(info("plumb_bob"), rectified=True).bearing(around((320.5 + 400, 240.5)), 640, 480)
    assert bearing.direction == pytest.approx((math.sqrt(0.5), 0.0, math.sqrt(0.5)), abs=1e-9)


@pytest.mark.parametrize(
    "message, told",
    [
        (CameraInfo(width=640, height=480), "not calibrated"),
        (info(width=0), "0 x 480"),
        (info("thin_prism", d=[0.1]), "thin_prism"),
        (info("plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0, 0.2]), "6 coefficients"),
        (info("rational_polynomial", d=[0.1] * 15), "15 coefficients"),
        (info("plumb_bob", d=[math.nan] * 5), "not finite"),
        (info("equidistant", d=[0.1] * 5), "5 coefficients"),
    ],
)
def test_what_is_no_calibration_is_told(message, told):
    with pytest.raises(CalibrationError, match=told):
        CameraModel(message)


@pytest.mark.parametrize(
    "model, d, whole",
    [
        ("plumb_bob", [-0.28, 0.07, 0.0002, -0.0003, 0.0, 0.0, 0.0, 0.0], LENSES["plumb_bob"]),
        ("plumb_bob", [-0.28, 0.07], [-0.28, 0.07, 0.0, 0.0]),
        ("rational_polynomial", [0.5, 0.1, 0.0001, -0.0002, 0.01], [0.5, 0.1, 0.0001, -0.0002, 0.01, 0.0, 0.0, 0.0]),
        ("rational_polynomial", [0.5, *[0.0] * 15], [0.5, *[0.0] * 7]),
        ("equidistant", [*LENSES["equidistant"], 0.0], LENSES["equidistant"]),
        ("equidistant", [], [0.0] * 4),
    ],
)
def test_zeros_may_follow_the_coefficients_or_be_left_out(model, d, whole):
    found, expected = (CameraModel(info(model, d=one)).bearing((100, 60, 40, 60), 640, 480) for one in (d, whole))
    assert found == expected


def test_images_of_another_shape_are_refused():
    with pytest.raises(CalibrationError, match=r"640 x 360.*640 x 480"):
        CameraModel(info()).bearing((10, 10, 20, 20), 640, 360)


finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(1e-300, 1e300)


@given(
    st.sampled_from(list(LENSES)),
    st.tuples(*[st.floats(-1e6, 1e6)] * 2, *[st.floats(1e-3, 1e6)] * 2),
    st.lists(st.one_of(st.floats(-10, 10), finite), min_size=8, max_size=8),
    st.one_of(st.just(tuple(K.flatten())), st.tuples(positive, *[finite] * 3, positive, *[finite] * 4)),
)
def test_a_direction_is_a_unit_vector_or_absent(model, box, d, k):
    bearing = CameraModel(info(model, d=d[: len(LENSES[model])], k=list(k))).bearing(box, 640, 480)
    assert bearing is None or math.isclose(np.linalg.norm(bearing.direction), 1.0, abs_tol=1e-9)
