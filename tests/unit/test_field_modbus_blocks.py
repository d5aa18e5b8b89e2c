"""Read planning: every tag exactly once, no limit passed, and halving always ends."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from ullage_protocols.field.modbus.blocks import Block, plan, split
from ullage_protocols.field.modbus.spec import BIT_TABLES, ModbusTag, tag_at


@st.composite
def tags(draw: st.DrawFn) -> tuple[ModbusTag, ...]:
    found = []
    for number in range(draw(st.integers(1, 40))):
        table = draw(st.sampled_from(["coil", "discrete", "holding", "input"]))
        type_ = "bit" if table in BIT_TABLES else draw(st.sampled_from(["uint16", "int32", "float64"]))
        near = draw(st.integers(0, 60) | st.integers(0, 3000) | st.integers(65400, 65532))
        found.append(ModbusTag(f"t{number}", table, near, type_))  # type: ignore[arg-type]
    return tuple(found)


def check(blocks: Iterable[Block], wanted: tuple[ModbusTag, ...], max_registers: int) -> None:
    blocks = list(blocks)
    assert sorted(at for block in blocks for at in block.tags) == list(range(len(wanted)))
    for block in blocks:
        assert 1 <= block.count <= (2000 if block.table in BIT_TABLES else max_registers)
        assert block.address + block.count <= 65536
        for at in block.tags:
            assert wanted[at].table == block.table
            assert block.address <= wanted[at].address
            assert wanted[at].address + wanted[at].width <= block.address + block.count


@given(tags(), st.integers(4, 125), st.integers(0, 125))
def test_every_tag_is_covered_once_within_the_limits(
    wanted: tuple[ModbusTag, ...], max_registers: int, max_gap: int
) -> None:
    blocks = plan(wanted, max_registers=max_registers, max_gap=max_gap)
    check(blocks, wanted, max_registers)
    for block in blocks:
        end = block.address
        for at in block.tags:
            assert wanted[at].address - end <= max_gap * (16 if block.table in BIT_TABLES else 1)
            end = max(end, wanted[at].address + wanted[at].width)


@given(tags(), st.integers(4, 125), st.integers(0, 125))
def test_halving_covers_the_same_tags_and_ends_with_one_each(
    wanted: tuple[ModbusTag, ...], max_registers: int, max_gap: int
) -> None:
    blocks = plan(wanted, max_registers=max_registers, max_gap=max_gap)
    for _ in wanted:
        blocks = tuple(half for block in blocks for half in split(block, wanted))
        check(blocks, wanted, max_registers)
    assert all(len(block.tags) == 1 for block in blocks)
    assert blocks == tuple(half for block in blocks for half in split(block, wanted))


def test_neighbours_merge_across_a_small_gap_only() -> None:
    wanted = tuple(tag_at(f"t{at}", f"holding:{at}") for at in (0, 1, 9, 19))
    assert plan(wanted, max_registers=125, max_gap=8) == (
        Block("holding", 0, 10, (0, 1, 2)),
        Block("holding", 19, 1, (3,)),
    )
    assert len(plan(wanted, max_registers=125, max_gap=0)) == 3
    assert len(plan(wanted, max_registers=125, max_gap=9)) == 1
    assert len(plan(wanted, max_registers=9, max_gap=9)) == 3


def test_sixteen_bits_of_gap_count_as_one_register() -> None:
    wanted = tuple(tag_at(f"t{at}", f"coil:{at}") for at in (0, 17, 35))
    assert [block.tags for block in plan(wanted, max_registers=125, max_gap=1)] == [(0, 1), (2,)]


def test_coils_take_up_to_two_thousand_a_request() -> None:
    wanted = tuple(tag_at(f"t{at}", f"discrete:{at}") for at in range(2001))
    assert [block.count for block in plan(wanted, max_registers=4, max_gap=0)] == [2000, 1]


def test_two_tags_on_one_register_share_a_request_of_one() -> None:
    wanted = (tag_at("a", "holding:5"), tag_at("b", "holding:5", bit=3))
    assert plan(wanted, max_registers=125, max_gap=0) == (Block("holding", 5, 1, (0, 1)),)


def test_a_refused_block_is_cut_where_its_widest_gap_is() -> None:
    wanted = tuple(tag_at(f"t{at}", f"holding:{at}") for at in (0, 1, 2, 7, 8))
    (block,) = plan(wanted, max_registers=125, max_gap=8)
    assert split(block, wanted) == (Block("holding", 0, 3, (0, 1, 2)), Block("holding", 7, 2, (3, 4)))
