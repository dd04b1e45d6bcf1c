"""The generated table of GGML types."""

import gguf

from estimator.quants import bytes_per_element, file_type_name, quant_types_by_id
from tests.estimator.quant_table import TABLE, table_text


def test_the_table_is_what_the_gguf_package_says() -> None:
    assert TABLE.read_text("utf-8") == table_text()


def test_every_type_number_of_gguf_has_its_name() -> None:
    assert quant_types_by_id() == {int(kind): kind.name for kind in gguf.GGMLQuantizationType}


def test_file_types_have_the_names_that_people_write() -> None:
    names = {1: "F16", 2: "Q4_0", 7: "Q8_0", 15: "Q4_K_M", 17: "Q5_K_M", 18: "Q6_K"}
    assert {number: file_type_name(number) for number in names} == names


def test_a_file_type_that_nobody_knows_is_unknown() -> None:
    assert file_type_name(4711) == file_type_name(None) == "unknown"


def test_an_element_of_a_quantised_type_takes_its_share_of_a_block() -> None:
    assert bytes_per_element("Q8_0") == 34 / 32
    assert bytes_per_element("Q4_K") == 4.5 / 8
