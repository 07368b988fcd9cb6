# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Readers of the benchmarks' published layouts, each on a tiny tree in that layout."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from snscf_core.evaluation.datasets import DATASETS, read_dataset
from snscf_core.evaluation.metrics import RULES
from snscf_core.evaluation.sequence_lists import LASOT_TEST, OTB_2013, OTB_2015, OTB_FRAMES, TB_50, UAV123_PARTS


def touch(folder: Path, numbers, digits: int = 4, suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number:0{digits}d}{suffix}").touch()


def write(file: Path, lines) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def numbers_of(sequence) -> list[int]:
    return [int(file.stem) for file in sequence.files]


def test_lists_are_complete():
    assert (len(OTB_2015), len(TB_50), len(OTB_2013), len(LASOT_TEST)) == (100, 50, 51, 280)
    assert set(OTB_2013) <= set(OTB_2015) and set(TB_50) <= set(OTB_2015)
    assert sum(map(len, UAV123_PARTS.values())) == 51


def test_frames_of_otb_are_those_of_its_annotations(data):
    """All that is special about OTB's sequences is in the lists: the annotations' own file names say the same."""
    annotations = json.loads(gzip.decompress((data / "golden" / "OTB2015.json.gz").read_bytes()))
    by_name = {name.lower().replace("_", "-"): one for name, one in annotations.items()}
    assert set(by_name) == {name.lower() for name in OTB_2015}
    for name in OTB_2015:
        files = by_name[name.lower()]["image_files"]
        first, last = (int(Path(file).stem) for file in (files[0], files[-1]))
        assert (first, last) == OTB_FRAMES.get(name.partition("-")[0], (1, len(files))), name


def test_otb(tmp_path):
    touch(tmp_path / "Crossing" / "img", range(1, 4))
    write(tmp_path / "Crossing" / "groundtruth_rect.txt", ["1\t2\t3\t4"] * 3)
    write(tmp_path / "anno" / "att" / "crossing.txt", ["0,0,1,0,1,0,1,0,0,1,0"])
    touch(tmp_path / "David" / "img", range(1, 801))
    write(tmp_path / "David" / "groundtruth_rect.txt", ["1,2,3,4"] * 471)
    touch(tmp_path / "Jogging" / "img", range(1, 3))
    write(tmp_path / "Jogging" / "groundtruth_rect.1.txt", ["1,2,3,4"] * 2)
    write(tmp_path / "Jogging" / "groundtruth_rect.2.txt", ["5,6,7,8"] * 2)
    # Annotated from its first image, but evaluated from the sixth.
    touch(tmp_path / "Tiger1" / "img", range(1, 355))
    write(tmp_path / "Tiger1" / "groundtruth_rect.txt", [f"{n},2,3,4" for n in range(1, 355)])
    dataset = read_dataset("otb", tmp_path)
    sequences = {one.name: one for one in dataset.sequences}
    assert list(sequences) == ["Crossing", "David", "Jogging-1", "Jogging-2", "Tiger1"]
    assert len(dataset.missing) == 95 and "Human4-2" in dataset.missing
    assert sequences["Crossing"].attributes == ("SV", "DEF", "FM", "BC")
    assert sequences["Crossing"].boxes.tolist() == [[1, 2, 3, 4]] * 3
    assert numbers_of(sequences["David"]) == list(range(300, 771))
    assert sequences["Jogging-2"].boxes[0].tolist() == [5, 6, 7, 8]
    assert numbers_of(sequences["Tiger1"])[0] == sequences["Tiger1"].boxes[0, 0] == 6
    assert dataset.rules == RULES["otb"]
    assert len(read_dataset("otb2013", tmp_path).sequences) == 5
    (tmp_path / "Crossing" / "img" / "0003.jpg").unlink()
    damaged = read_dataset("otb", tmp_path)
    assert "Crossing: 2 images, but 3 boxes" in damaged.unreadable["Crossing"] and len(damaged.sequences) == 4
    assert [one.name for one in read_dataset("otb", tmp_path, ["Tiger1"]).sequences] == ["Tiger1"]
    with pytest.raises(ValueError, match="Crossing: 2 images, but 3 boxes"):
        read_dataset("otb", tmp_path, ["Crossing"])


@pytest.mark.parametrize(("name", "folder", "step"), [("uav123", "UAV123", 1), ("uav123_10fps", "UAV123_10fps", 3)])
def test_uav123(name, folder, step, tmp_path):
    touch(tmp_path / "data_seq" / folder / "bike1", range(1, 4), 6)
    write(tmp_path / "anno" / folder / "bike1.txt", ["1,2,3,4", "NaN,NaN,NaN,NaN", "1,2,3,4"])
    write(tmp_path / "anno" / folder / "att" / "bike1.txt", ["1,0,0,0,0,0,0,0,0,0,0,1"])
    first, last = (774 // step + 1, 1476 // step + 1)
    touch(tmp_path / "data_seq" / folder / "bird1", range(1, last + 5), 6)
    write(tmp_path / "anno" / folder / "bird1_2.txt", ["1,2,3,4"] * (last - first + 1))
    write(tmp_path / "anno" / folder / "car9.txt", ["1,2,3,4"])
    dataset = read_dataset(name, tmp_path)
    bike, bird = dataset.sequences
    assert np.isnan(bike.boxes[1]).all() and bike.attributes == ("SV", "SOB")
    assert (numbers_of(bird)[0], numbers_of(bird)[-1]) == (first, last)
    assert dataset.missing == ("car9",) and dataset.rules.absent == "missed"


def test_ten_frames_a_second_are_those_of_the_published_results(data):
    truth = np.load(data / "golden" / "uav123_10fps_groundtruth.npz")
    for video, parts in UAV123_PARTS.items():
        for part, (first, last) in enumerate(parts, 1):
            assert len(truth[f"{video}_{part}"]) == (last - 1) // 3 - (first - 1) // 3 + 1, video


def test_lasot(tmp_path):
    for folder, name in ((tmp_path / "airplane", "airplane-1"), (tmp_path, "bear-2")):
        touch(folder / name / "img", range(1, 4), 8)
        write(folder / name / "groundtruth.txt", ["1,2,3,4"] * 3)
        write(folder / name / "full_occlusion.txt", ["0,1,0"])
        write(folder / name / "out_of_view.txt", ["0,0,1"])
    write(tmp_path / "annos" / "att" / "airplane-1.txt", ["0,1,0,0,0,1,0,0,1,0,0,0,1,0"])
    dataset = read_dataset("lasot", tmp_path)
    assert [one.name for one in dataset.sequences] == ["airplane-1", "bear-2"]
    assert np.isnan(dataset.sequences[0].boxes).all(axis=1).tolist() == [False, True, True]
    assert dataset.sequences[0].attributes == ("POC", "ROT", "SV", "LR")
    assert len(dataset.missing) == 278
    write(tmp_path / "testing_set.txt", ["bear-2"])
    assert [one.name for one in read_dataset("lasot", tmp_path).sequences] == ["bear-2"]


def test_got10k(tmp_path):
    for name in ("GOT-10k_Val_000001", "GOT-10k_Val_000002"):
        touch(tmp_path / "val" / name, range(1, 5), 8)
        write(tmp_path / "val" / name / "groundtruth.txt", ["1,2,3,4"] * 4)
        write(tmp_path / "val" / name / "cover.label", [0, 8, 0, 3])  # the first box is given, seen or not
        write(tmp_path / "val" / name / "absence.label", [0, 0, 0, 1])
    write(tmp_path / "val" / "list.txt", ["GOT-10k_Val_000001", "GOT-10k_Val_000002", "GOT-10k_Val_000003"])
    dataset = read_dataset("got10k", tmp_path)
    assert np.isnan(dataset.sequences[0].boxes).all(axis=1).tolist() == [False, False, True, True]
    assert dataset.missing == ("GOT-10k_Val_000003",) and dataset.rules.pooled
    touch(tmp_path / "test" / "GOT-10k_Test_000001", range(1, 4), 8)
    write(tmp_path / "test" / "GOT-10k_Test_000001" / "groundtruth.txt", ["1,2,3,4"])
    (hidden,) = read_dataset("got10k_test", tmp_path).sequences
    assert len(hidden) == 3 and np.isnan(hidden.boxes[1:]).all()


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_folder_without_the_data_set_gets_one_sentence_with_the_tree(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected .*groundtruth|expected .*anno") as caught:
        read_dataset(name, tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_names_choose_sequences_in_their_order(tmp_path):
    for name in ("a", "b", "c"):
        touch(tmp_path / name / "img", [1])
        write(tmp_path / name / "groundtruth_rect.txt", ["1,2,3,4"])
    assert [one.name for one in read_dataset("sequences", tmp_path, ["c", "a"]).sequences] == ["c", "a"]
    with pytest.raises(ValueError, match="no sequence 'd'; it has a, b, c"):
        read_dataset("sequences", tmp_path, ["d"])
    with pytest.raises(ValueError, match="unknown data set"):
        read_dataset("kitti", tmp_path)
