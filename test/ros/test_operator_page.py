# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The operator's page in a real browser, over the real node."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("playwright")
from operator_harness import (
    CHROMIUM,
    NO_CHROMIUM,
    PageProcess,
    RunningCamera,
    Screen,
    chromium,
    drag,
    pixels,
    wait_for_in,
)
from ros_harness import iou, wait_for
from vision_msgs.msg import Detection2DArray

if CHROMIUM is None:
    pytest.skip(NO_CHROMIUM, allow_module_level=True)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(running_tracker) -> Iterator[PageProcess]:
    process = PageProcess()
    yield process
    assert process.close() == 0, process.log()


@pytest.fixture
def camera(peer, tracker) -> Iterator[RunningCamera]:
    # on a busy machine a drag takes seconds
    assert tracker.set_parameter("buffer_seconds", 30.0).successful
    camera = RunningCamera(peer)
    yield camera
    camera.close()


@pytest.fixture
def screen(browser, served, camera) -> Iterator[Screen]:
    screen = Screen(browser, served.address)
    screen.wait_for_picture()
    yield screen
    screen.close()


def follow(screen: Screen, camera: RunningCamera, **how: bool) -> str:
    """Drag a box around the target, and return the id under which it is followed."""
    known = screen.page.locator(".target").count()
    drag(screen, camera, **how)
    screen.page.locator(".target").nth(known).wait_for()
    return screen.page.locator(".target").nth(known).get_attribute("data-id")


def test_a_drag_starts_on_the_picture_that_was_on_the_screen(screen, camera, peer, tracker):
    with peer.received(Detection2DArray, f"{tracker.name}/detections") as detections:
        # so slowly that the target is elsewhere when the box is complete
        sent = drag(screen, camera, slowly=True)
        assert iou(sent["box"], camera.truth(int(sent["stamp"]))) > 0.85
        found = wait_for_in(screen, lambda: [d for d in detections if d.detections], "detections")[0]
    box = found.detections[0].bbox
    w, h = box.size_x, box.size_y
    place = (box.center.position.x - w / 2, box.center.position.y - h / 2, w, h)
    stamp = found.header.stamp.sec * 10**9 + found.header.stamp.nanosec
    assert stamp > int(sent["stamp"])
    assert iou(place, camera.truth(stamp)) > 0.5
    assert re.search(r"following 'target_\d+' .* through \d+ images", screen.page.locator("#log li").first.inner_text())


def test_every_box_is_drawn_into_its_own_picture(screen, camera):
    follow(screen, camera)
    screen.page.evaluate("window.shown.length = 0")
    shown = wait_for_in(screen, lambda: [s for s in screen.shown if s["targets"]][15:], "pictures with boxes")
    boxed = [one for one in screen.shown if one["targets"]]
    # on a busy machine the tracker may be silent for so long that a picture does not wait for it
    assert len(boxed) > len(screen.shown) / 2
    overlaps = [iou(one["targets"][0]["box"], camera.truth(int(one["stamp"]))) for one in boxed]
    # a box one image late would overlap by 0.86, two by 0.74
    assert sorted(overlaps)[len(overlaps) // 2] > 0.8
    # the label is on the screen, in the target's colour
    screen.page.locator("#freeze").click()
    target = screen.newest()["targets"][0]
    assert shown
    x, y = screen.place(target["box"][0], target["box"][1], camera.scene.width, camera.scene.height)
    blue, green, red = pixels(screen)[max(0, round(y) - 12) if y > 30 else round(y) + 8, round(x) + 2].astype(int)
    swatch = screen.page.locator(".swatch").evaluate("(e) => getComputedStyle(e).backgroundColor")
    assert [red, green, blue] == pytest.approx([int(v) for v in re.findall(r"\d+", swatch)], abs=12)


def test_a_finger_drags_a_box_and_a_tap_offers_one(browser, served, camera):
    screen = Screen(browser, served.address, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    screen.wait_for_picture()
    fingers = screen.context.new_cdp_session(screen.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    def at(x: float, y: float) -> tuple[float, float]:
        return screen.place(x, y, camera.scene.width, camera.scene.height)

    x, y, w, h = camera.truth(int(screen.newest()["stamp"]))
    touch("touchStart", at(x, y))
    touch("touchMove", at(x + w / 2, y + h / 2))
    touch("touchMove", at(x + w, y + h))
    touch("touchEnd")
    screen.page.locator(".target").wait_for()
    assert screen.start_messages()[-1]["box"] == pytest.approx([x, y, w, h], abs=2)

    touch("touchStart", at(100, 100))
    touch("touchEnd")
    screen.page.locator("#follow").wait_for()
    held = screen.newest()["stamp"]
    screen.page.locator("#follow").tap()
    screen.page.locator(".target").nth(1).wait_for()
    sent = screen.start_messages()[-1]
    assert sent["box"] == pytest.approx([100 - w / 2, 100 - h / 2, w, h], abs=2)  # the size of the last box
    assert sent["stamp"] == held
    # nothing is wider than the phone
    assert screen.page.evaluate("document.scrollingElement.scrollWidth") <= 360
    # two fingers zoom and draw nothing
    count = len(screen.start_messages())
    touch("touchStart", at(150, 100), at(170, 140))
    touch("touchMove", at(110, 60), at(210, 180))
    touch("touchEnd")
    screen.page.wait_for_timeout(300)
    assert len(screen.start_messages()) == count
    screen.close()


def test_two_operators_see_what_either_does(screen, browser, served, camera):
    other = Screen(browser, served.address)
    other.wait_for_picture()
    first = follow(screen, camera)
    seen = other.page.locator(f".target[data-id='{first}']")
    seen.wait_for()
    assert "tracked" in seen.inner_text()
    other.page.locator("#log li", has_text=f"following '{first}'").wait_for()
    # a picture of either has the box
    wait_for_in(other, lambda: other.newest()["targets"], "the box in the other's picture")

    second = follow(other, camera)
    screen.page.locator(f".target[data-id='{second}'] .primary").click()
    other.page.locator(f".target[data-id='{second}'] .star").wait_for()
    other.page.locator(f".target[data-id='{first}'] .remove").click()
    screen.page.locator(f".target[data-id='{first}']").wait_for(state="detached")
    screen.page.locator("#reset").click()
    screen.page.get_by_role("button", name="Keep them").click()
    assert screen.page.locator(".target").count() == 1
    screen.page.locator("#reset").click()
    screen.page.get_by_role("button", name="Forget all").click()
    other.page.locator(".target").wait_for(state="detached")
    other.close()


def test_lost_and_found_again_are_shown(screen, camera):
    follow(screen, camera)
    screen.page.locator("#sound").click()
    camera.hidden = True
    screen.page.locator(".target.lost .state", has_text="lost").wait_for()
    screen.page.locator("#log li", has_text="lost").wait_for()
    camera.hidden = False
    screen.page.locator(".target.tracked .state", has_text="tracked").wait_for()


def test_a_target_is_drawn_anew_under_its_id(screen, camera):
    target = follow(screen, camera)
    button = screen.page.locator(".redraw")

    def choose() -> None:
        if button.inner_text() == "Redraw":
            button.click()
        screen.page.locator(".redraw", has_text="Cancel").wait_for()

    sent = drag(screen, camera, prepare=choose)
    assert sent["target_id"] == target
    screen.page.locator("#log li").nth(1).wait_for()
    assert screen.page.locator(".target").count() == 1
    # the next box is a target of its own again
    follow(screen, camera)
    assert screen.page.locator(".target").count() == 2


def test_a_frozen_picture_that_is_too_old_is_refused_with_the_range(screen, camera, tracker):
    assert tracker.set_parameter("buffer_seconds", 0.5).successful
    screen.page.locator("#video").focus()
    screen.page.keyboard.press("f")
    held = screen.newest()["stamp"]
    screen.page.wait_for_timeout(1500)
    assert screen.newest()["stamp"] == held
    sent = drag(screen, camera)
    assert sent["stamp"] == held
    refusal = screen.page.locator("#hint.bad", has_text="Refused:")
    refusal.wait_for()
    assert len(re.findall(r"\d+\.\d{9}", refusal.inner_text())) == 3, refusal.inner_text()  # the stamp and the range
    assert screen.page.locator(".target").count() == 0
    wait_for_in(screen, lambda: screen.newest()["stamp"] != held, "the live picture")


def test_everything_can_be_done_with_the_keyboard(screen, camera):
    video, keys = screen.page.locator("#video"), screen.page.keyboard
    video.focus()
    keys.press("Enter")
    screen.page.locator("#follow").wait_for()
    keys.press("Escape")
    screen.page.locator("#follow").wait_for(state="hidden")
    keys.press("Enter")
    for _ in range(3):
        keys.press("ArrowLeft")
    keys.press("ArrowUp")
    keys.press("Shift+ArrowRight")
    keys.press("Enter")
    screen.page.locator(".target").wait_for()
    side = 96
    sent = screen.start_messages()[-1]["box"]
    assert sent == [160 - side / 2 - 24, 120 - side / 2 - 8, side + 8, side]


def test_a_small_object_is_drawn_in_the_zoomed_picture(screen, camera):
    def frozen_in_the_middle() -> bool:
        screen.page.locator("#freeze").click()
        x, y, w, h = camera.truth(int(screen.newest()["stamp"]))
        if 40 < x < camera.scene.width - w - 40 and 40 < y < camera.scene.height - h - 40:
            return True
        screen.page.locator("#freeze").click()
        return False

    wait_for_in(screen, frozen_in_the_middle, "the target in the middle")
    x, y, w, h = camera.truth(int(screen.newest()["stamp"]))
    size = (camera.scene.width, camera.scene.height)
    middle = screen.place(x + w / 2, y + h / 2, *size)
    corners = [screen.place(x, y, *size), screen.place(x + w, y + h, *size)]
    screen.page.mouse.move(*middle)
    screen.page.mouse.wheel(0, -280)  # twice as large, around the pointer
    screen.page.wait_for_timeout(200)
    factor = 2.0137527  # exp(280 / 400)
    begin, end = ([m + (c - m) * factor for c, m in zip(corner, middle, strict=True)] for corner in corners)
    screen.page.mouse.move(*begin)
    screen.page.mouse.down()
    screen.page.mouse.move(*end, steps=3)
    screen.page.mouse.up()
    screen.page.locator(".target").wait_for()
    assert iou(screen.start_messages()[-1]["box"], (x, y, w, h)) > 0.85


def test_tracking_is_switched_off_and_on(screen, camera):
    follow(screen, camera)
    screen.page.locator("#enable").click()
    screen.page.locator("#connection", has_text="tracking is off").wait_for()
    # the picture goes on, without boxes
    wait_for_in(screen, lambda: not screen.newest()["targets"], "a picture without a box")
    screen.page.locator("#enable").click()
    screen.page.locator("#connection", has_text="connected").wait_for()
    wait_for_in(screen, lambda: screen.newest()["targets"], "a picture with a box")


def test_the_page_goes_on_after_the_node_and_the_server_were_started_again(browser, peer, start):
    camera = RunningCamera(peer, "again", "image_raw/compressed")
    parameters = {"image_transport": "compressed", "buffer_seconds": 30.0}  # a drag takes seconds
    tracker = start(namespace="again", parameters=parameters)
    tracker.activate()
    served = PageProcess("again")
    port = int(re.search(r":(\d+)/", served.address).group(1))
    screen = Screen(browser, served.address)
    screen.wait_for_picture()
    follow(screen, camera)

    tracker.process.close()
    screen.page.locator("#connection", has_text=re.compile("does not answer|silent")).wait_for()
    tracker = start(namespace="again", parameters=parameters)
    tracker.activate()
    screen.page.locator("#connection", has_text="connected").wait_for()
    wait_for(lambda: screen.page.locator(".target").count() == 0, "the empty list")
    last = max(camera.numbers)  # the new node does not remember what was sent before it was active
    wait_for_in(screen, lambda: int(screen.newest()["stamp"]) > last, "a newer picture")
    follow(screen, camera)

    assert served.close() == 0
    screen.page.locator("#connection", has_text="no connection").wait_for()
    served = PageProcess("again", port=port)
    screen.page.locator("#connection", has_text="connected").wait_for()
    wait_for_in(screen, lambda: screen.newest()["targets"], "a picture with the box")
    screen.close()
    camera.close()
    assert served.close() == 0
