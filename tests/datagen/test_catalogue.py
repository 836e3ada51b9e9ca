"""The catalogue: the embedded subjects, and any folder of pictures with a table."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from datagen.catalogue import CatalogueError, FolderPictures, fingerprint, load_catalogue, parse_table
from tools.kinds import OTHER_NOUNS, nouns_of

HEADER = "file,name,category,subgroup,attributes\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cut-outs, one picture without alpha, one file that is no picture."""
    cutout = Image.new("RGBA", (40, 30))
    cutout.paste("red", (5, 5, 30, 25))
    cutout.save(tmp_path / "cup.png")
    cutout.save(tmp_path / "mug.png")
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "photo.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    return tmp_path


def write(folder: Path, rows: str) -> str:
    (folder / "subjects.csv").write_text(HEADER + rows)
    return str(folder)


def test_embedded_catalogue_has_at_least_849_subjects_each_with_a_decodable_cutout():
    catalogue = load_catalogue()
    assert len(catalogue) >= 849
    catalogue.check_pictures()


def test_every_embedded_subject_has_a_name_of_its_own_and_a_twin_in_another_design():
    catalogue = load_catalogue()
    names = [subject.name for subject in catalogue]
    assert len(set(names)) == len(names)
    twins = [catalogue.twin(subject) for subject in catalogue]
    assert all(twin and twin.name == s.name for twin, s in zip(twins, catalogue, strict=True))
    assert not {twin.id for twin in twins if twin} & {subject.id for subject in catalogue}


def test_every_embedded_subject_is_called_what_the_tool_that_wrote_the_table_calls_it():
    for subject in load_catalogue():
        written = subject.attributes["nouns"]
        assert written == nouns_of(subject.subgroup, subject.kind, subject.name), subject.name


def test_every_exception_is_of_a_subject_that_there_is():
    names = {subject.name for subject in load_catalogue()}
    assert {name for listed in OTHER_NOUNS.values() for name in listed.split(", ")} <= names


@pytest.mark.parametrize(
    ("name", "noun"),
    [("log", "building"), ("parachute", "aircraft"), ("spider", "insect"), ("salt shaker", "dish")],
)
def test_what_stands_in_a_group_of_unicode_is_not_called_by_its_noun(name: str, noun: str):
    (subject,) = load_catalogue().named(name)
    assert noun not in subject.nouns


@pytest.mark.parametrize(("name", "siblings"), [("red heart", 11), ("red circle", 8), ("blue book", 3)])
def test_colour_families_know_their_siblings(name: str, siblings: int):
    catalogue = load_catalogue()
    found = catalogue.colour_siblings(catalogue.named(name)[0])
    assert len(found) == siblings
    assert len({s.attributes["colour"] for s in found}) == siblings


def test_subject_without_series_has_no_siblings():
    catalogue = load_catalogue()
    assert catalogue.colour_siblings(catalogue.named("fox")[0]) == ()


def test_splits_share_no_subject_no_family_and_no_series():
    calibration, heldout = load_catalogue(split="calibration"), load_catalogue(split="heldout")
    assert len(calibration) + len(heldout) == len(load_catalogue())
    assert not {s.group for s in calibration} & {s.group for s in heldout}
    assert all(
        len(side.of_kind(kind)) > 50 for side in (calibration, heldout) for kind in ("character", "object")
    )


def test_folder_with_a_table_is_a_catalogue(folder: Path):
    where = write(folder, "cup.png,cup,kitchen,,kind=object;colour=red\nmug.png,mug,kitchen,drinkware,\n")
    catalogue = load_catalogue(where)
    assert [s.id for s in catalogue] == ["cup", "mug"]
    assert catalogue.by_id("cup").attributes == {"kind": "object", "colour": "red"}
    assert [s.subgroup for s in catalogue] == ["kitchen", "drinkware"]
    assert catalogue.picture(catalogue.by_id("cup")).mode == "RGBA"


def test_every_bad_row_is_named_at_once(folder: Path):
    rows = "gone.png,a,b,,\ncup.png,,b,,\nmug.png,m,b,,kind=ghost\ncup.png,c,b,,colour\n"
    rows += "mug.png,n,b,,\n" * 2
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(write(folder, rows))
    lines = str(caught.value).splitlines()
    table = str(folder / "subjects.csv")
    assert [line.split(": ")[0] for line in lines] == [
        f"{table}:2", f"{table}:3", f"{table}:4", f"{table}:5", table,
    ]  # fmt: skip
    assert "gone.png" in lines[0]
    assert "ghost" in lines[2]


@pytest.mark.parametrize(
    ("file", "found"), [("photo.png", "no transparent pixel"), ("broken.png", "cannot identify image file")]
)
def test_unusable_picture_is_named_when_pictures_are_checked(folder: Path, file: str, found: str):
    catalogue = load_catalogue(write(folder, f"cup.png,cup,b,,\n{file},thing,b,,\n"))
    with pytest.raises(CatalogueError, match=f"{file}: expected .*{found}"):
        catalogue.check_pictures()


def test_truncated_picture_is_named(folder: Path):
    data = (folder / "cup.png").read_bytes()
    (folder / "cup.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(CatalogueError, match=r"cup\.png: expected a picture"):
        load_catalogue(write(folder, "cup.png,cup,b,,\n")).check_pictures()


def test_picture_outside_the_folder_is_not_read(folder: Path):
    inside = folder / "inside"
    inside.mkdir()
    with pytest.raises(CatalogueError, match="expected a picture in this catalogue"):
        parse_table("t.csv", HEADER + "../cup.png,cup,b,,\n", FolderPictures(inside))


def test_missing_column_and_missing_table_say_what_to_add(tmp_path: Path):
    with pytest.raises(CatalogueError, match=r"expected a folder with one \.csv, got 'no table'"):
        load_catalogue(str(tmp_path))
    (tmp_path / "s.csv").write_text("file,name\n")
    with pytest.raises(CatalogueError, match="add category"):
        load_catalogue(str(tmp_path / "."))
    with pytest.raises(CatalogueError, match="no such folder"):
        load_catalogue(str(tmp_path / "nowhere"))


def test_a_table_in_another_encoding_says_to_save_it_as_utf_8(folder: Path):
    (folder / "subjects.csv").write_bytes((HEADER + "cup.png,Kännchen,küche,,\r\n").encode("latin-1"))
    with pytest.raises(CatalogueError, match=r"subjects\.csv: expected text in UTF-8, .*save it as UTF-8"):
        load_catalogue(str(folder))


def test_fingerprint_follows_content_not_place(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    where = write(folder, "cup.png,cup,kitchen,,\n")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(where, elsewhere)
    assert fingerprint(str(elsewhere)) == fingerprint(where)
    (elsewhere / "subjects.csv").write_text(HEADER + "cup.png,mug,kitchen,,\n")
    assert fingerprint(str(elsewhere)) != fingerprint(where)


def test_unknown_subject_is_refused():
    with pytest.raises(CatalogueError, match="got 'fluent/nothing'"):
        load_catalogue().by_id("fluent/nothing")
