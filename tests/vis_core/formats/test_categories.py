import pytest

from vis_core.errors import AnnotationError
from vis_core.formats.categories import Categories, numbered


def test_ids_with_holes_survive_the_round_trip() -> None:
    categories = Categories((1, 3, 90), ("person", "car", "toothbrush"))
    assert Categories.from_json(categories.to_json()) == categories
    assert len(categories) == 3
    assert [categories.index_of_id(value) for value in (1, 3, 90)] == [0, 1, 2]
    assert categories.id_of_index(2) == 90


def test_an_id_of_no_class_is_refused() -> None:
    with pytest.raises(AnnotationError, match="category 2"):
        numbered(("cat",)).index_of_id(2)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "unique id"),
        ([{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "'a', which id 1 has too"),
        ([{"id": 1}], "expected a name, found null"),
        ([{"id": "1", "name": "a"}], "64-bit integer"),
        ([{"id": 1, "name": "a\n"}], "expected a name"),
        ([7], "an object"),
    ],
)
def test_a_faulty_table_is_refused(table: list, words: str) -> None:
    with pytest.raises(AnnotationError, match=words):
        Categories.from_json(table)


def test_names_and_ids_must_pair() -> None:
    with pytest.raises(AnnotationError, match="one name for each id"):
        Categories((1, 2), ("a", "a"))
