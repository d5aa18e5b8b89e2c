"""Read planning: every tag exactly once, no limit passed, halving always ends; holes are learned and remembered."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from ullage_protocols.field.modbus.addresses import BIT_TABLES
from ullage_protocols.field.modbus.blocks import Block, plan, split
from ullage_protocols.field.modbus.holes import RETRY_CUT, RETRY_HOLE, Hole, Holes
from ullage_protocols.field.modbus.spec import ModbusTag, tag_at


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


# --- holes --------------------------------------------------------------------------------------------------


class Asker:
    """Asks a device that has only the addresses ``there``, as the client does; counts its requests."""

    def __init__(self, wanted: tuple[ModbusTag, ...], there: set[int], *, max_gap: int = 8, longest: int = 125) -> None:
        self.wanted, self.there, self.max_gap, self.longest = wanted, there, max_gap, longest
        self.holes = Holes()
        self.asked: list[tuple[int, int]] = []

    def answers(self, block: Block) -> bool:
        self.asked.append((block.address, block.count))
        return block.count <= self.longest and set(range(block.address, block.end)) <= self.there

    def blocks(self) -> tuple[Block, ...]:
        return plan(self.wanted, max_registers=125, max_gap=self.max_gap, apart=self.holes.apart)

    def scan(self, now: float) -> set[str]:
        """The names of the tags that were read."""
        self.holes.due(now)
        for _ in range(4):
            found: set[str] = set()
            parts: list[Block] = []
            for block in self.blocks():
                if self.holes.missing(block, now) is not None:
                    continue
                if self.answers(block):
                    self.holes.answered(block)
                    found |= {self.wanted[at].name for at in block.tags}
                else:
                    parts += self.holes.refused(block, self.wanted, 2, now)
            if not parts:
                break
            for _ in range(32):
                if parts and self.holes.missing(part := parts.pop(0), now) is None and not self.answers(part):
                    parts += self.holes.refused(part, self.wanted, 2, now)
        return found


def registers(*at: int) -> tuple[ModbusTag, ...]:
    return tuple(tag_at(f"{number}", f"holding:{number}") for number in at)


@given(st.sets(st.integers(0, 60), min_size=1), st.sets(st.integers(0, 70)), st.integers(0, 8))
def test_only_what_is_missing_is_missed_and_soon_nothing_is_refused_any_more(
    at: set[int], gone: set[int], max_gap: int
) -> None:
    asker = Asker(registers(*sorted(at)), set(range(80)) - gone, max_gap=max_gap)
    for now in range(6):
        found = asker.scan(now)
    assert found == {str(number) for number in at - gone}
    asker.asked.clear()
    assert asker.scan(7) == found
    asked = asker.asked
    assert len(asked) <= len(at - gone)
    assert not [span for span in asked if set(range(span[0], sum(span))) & gone], "known holes are left alone"
    assert max_gap or set().union(*(range(a, a + n) for a, n in asked)) <= at, "without gaps nobody else is asked"


def test_a_hole_is_found_in_the_first_scan_and_its_neighbours_stay_merged() -> None:
    asker = Asker(registers(*range(100)), set(range(100)) - {37})
    assert len(asker.scan(0)) == 99
    assert len(asker.asked) < 20
    assert [(block.address, block.count) for block in asker.blocks()] == [(0, 37), (37, 1), (38, 62)]


def test_registers_between_that_do_not_exist_are_no_longer_spanned() -> None:
    asker = Asker(registers(0, 1, 5, 6), {0, 1, 5, 6})
    assert len(asker.scan(0)) == 4
    assert [(block.address, block.count) for block in asker.blocks()] == [(0, 2), (5, 2)]
    assert not [hole for hole in asker.holes.known() if hole.cut is None]


def test_a_device_that_dislikes_long_requests_gets_shorter_ones() -> None:
    asker = Asker(registers(*range(100)), set(range(100)), longest=30)
    assert len(asker.scan(0)) == 100
    asker.asked.clear()
    asker.scan(1)
    assert max(count for _, count in asker.asked) <= 30


def test_holes_are_tried_again_seldom_and_healed_when_they_answer() -> None:
    asker = Asker(registers(*range(20)), set(range(20)) - {7})
    asker.scan(0)
    asker.asked.clear()
    for now in range(1, 60):
        asker.scan(now)
    assert (7, 1) not in asker.asked
    assert len(asker.scan(RETRY_HOLE)) == 19
    assert asker.asked.count((7, 1)) == 1
    asker.there.add(7)
    asker.scan(RETRY_HOLE + 30)
    assert asker.asked.count((7, 1)) == 1
    assert len(asker.scan(2 * RETRY_HOLE)) == 20
    assert [(block.address, block.count) for block in asker.blocks()] == [(0, 20)], "whole again"
    assert asker.holes.known() == ()


def test_what_was_refused_as_one_is_asked_as_one_again_much_later() -> None:
    asker = Asker(registers(0, 1, 5, 6), {0, 1, 5, 6})
    asker.scan(0)
    asker.there |= {2, 3, 4}
    asker.scan(RETRY_CUT - 1)
    assert len(asker.blocks()) == 2
    asker.asked.clear()
    assert len(asker.scan(RETRY_CUT)) == 4
    assert asker.asked == [(0, 7)]


def test_holes_outlive_the_process_that_found_them() -> None:
    first = Asker(registers(*range(40)), set(range(40)) - {5, 30})
    first.scan(0)
    second = Asker(first.wanted, first.there)
    second.holes = Holes(first.holes.known(), 1000.0)
    assert len(second.scan(1000.0)) == 38
    assert second.asked == [(0, 5), (6, 24), (31, 9)]


def test_sixteen_bits_of_a_missing_register_are_one_hole() -> None:
    wanted = tuple(tag_at(f"b{bit}", "holding:9", bit=bit) for bit in range(16))
    asker = Asker(wanted, set())
    assert asker.scan(0) == set()
    assert len(asker.asked) <= 2
    assert asker.holes.known() == (Hole("holding", 9, 1, 2),)
