"""What Helium does with vectors, as functions in LLVM's language that are put in the place of their calls.

TIR tells LLVM that no sum overflows. Rescaling in 64 bits from 32-bit halves needs sums that do, and their carries: a
product's halves are vmul and vmulh.
"""

from __future__ import annotations

PREFIX = "irnn_helium_"
MOST_TERMS = 4
MOST_SHIFT = 14

_DECLARATIONS = """
declare <4 x i32> @llvm.arm.mve.vmulh.v4i32(<4 x i32>, <4 x i32>, i32)
declare <4 x i32> @llvm.arm.mve.vmull.v4i32.v8i16(<8 x i16>, <8 x i16>, i32, i32)
declare <4 x i32> @llvm.arm.mve.vshll.imm.v4i32.v8i16(<8 x i16>, i32, i32, i32)
declare <8 x i16> @llvm.arm.mve.vshrn.v8i16.v4i32(<8 x i16>, <4 x i32>, i32, i32, i32, i32, i32, i32)
declare <8 x i16> @llvm.arm.mve.vldr.gather.offset.v8i16.p0.v8i16(ptr, <8 x i16>, i32, i32, i32)
declare i64 @llvm.arm.mve.addlv.v4i32(<4 x i32>, i32)
declare { i32, i32 } @llvm.arm.mve.vmlldava.v8i16(i32, i32, i32, i32, i32, <8 x i16>, <8 x i16>)
declare <4 x i32> @llvm.abs.v4i32(<4 x i32>, i1)
"""


class _Function:
    """Lines of a function, with names for its values."""

    def __init__(self, result: str, name: str, parameters: str) -> None:
        head = f"define linkonce_odr hidden {result} @{PREFIX}{name}({parameters})"
        self.lines, self.count, self.result = [f"{head} alwaysinline nounwind {{"], 0, result

    def value(self, text: str) -> str:
        self.count += 1
        self.lines.append(f"  %v{self.count} = {text}")
        return f"%v{self.count}"

    def all_lanes(self, scalar: str) -> str:
        """i32 in four lanes."""
        one = self.value(f"insertelement <4 x i32> undef, i32 {scalar}, i32 0")
        return self.value(f"shufflevector <4 x i32> {one}, <4 x i32> undef, <4 x i32> zeroinitializer")

    def add(self, a: str, b: str) -> str:
        return self.value(f"add <4 x i32> {a}, {b}")

    def add_wide(self, low: str, high: str, more_low: str, more_high: str | None) -> tuple[str, str]:
        """Halves of the sum of two 64-bit values. more_high: None for 0."""
        total = self.add(low, more_low)
        carry = self.value(f"icmp ult <4 x i32> {total}, {more_low}")
        one = self.value(f"sext <4 x i1> {carry} to <4 x i32>")
        if more_high is not None:
            high = self.add(high, more_high)
        return total, self.value(f"sub <4 x i32> {high}, {one}")

    def product(self, a: str, b: str) -> tuple[str, str]:
        low = self.value(f"mul <4 x i32> {a}, {b}")
        high = f"call <4 x i32> @llvm.arm.mve.vmulh.v4i32(<4 x i32> {a}, <4 x i32> {b}, i32 0)"
        return low, self.value(high)

    def end(self, value: str) -> str:
        return "\n".join([*self.lines, f"  ret {self.result} {value}", "}"])


def _scaled(terms: int, form: str) -> str:
    """(a0 b0 + ... + 2**(shift-1)) >> shift, for shifts below, at or above 32."""
    parameters = ", ".join(f"<4 x i32> %a{n}, <4 x i32> %b{n}" for n in range(terms))
    f = _Function("<4 x i32>", f"scaled_{terms}_{form}_32", f"{parameters}, i32 %shift")
    low, high = f.product("%a0", "%b0")
    for n in range(1, terms):
        low, high = f.add_wide(low, high, *f.product(f"%a{n}", f"%b{n}"))
    if form == "above":  # the rounding is a bit of the upper half, or the highest one of the lower half
        more = f.value("sub i32 %shift, 33")
        round_ = f.all_lanes(f.value(f"shl i32 1, {more}"))
        places = f.all_lanes(f.value("sub i32 %shift, 32"))
        return f.end(f.value(f"ashr <4 x i32> {f.add(high, round_)}, {places}"))
    before = f.value("sub i32 %shift, 1")
    round_ = f.all_lanes(f.value(f"shl i32 1, {before}"))
    low, high = f.add_wide(low, high, round_, None)
    if form == "at":
        return f.end(high)
    right, left = f.all_lanes("%shift"), f.all_lanes(f.value("sub i32 32, %shift"))
    lower = f.value(f"lshr <4 x i32> {low}, {right}")
    return f.end(f.value(f"or <4 x i32> {lower}, {f.value(f'shl <4 x i32> {high}, {left}')}"))


def _scaled_by() -> str:
    """(values * factor + 2**(shift-1)) >> shift, with a shift known at run time only."""
    f = _Function("<4 x i32>", "scaled_by", "<4 x i32> %values, i32 %factor, i32 %shift")
    low, high = f.product("%values", f.all_lanes("%factor"))
    before = f.value(f"zext i32 {f.value('sub i32 %shift, 1')} to i64")
    half = f.value(f"shl i64 1, {before}")
    upper = f.value(f"trunc i64 {f.value(f'lshr i64 {half}, 32')} to i32")
    lower = f.value(f"trunc i64 {half} to i32")
    low, high = f.add_wide(low, high, f.all_lanes(lower), f.all_lanes(upper))
    large = f.value("icmp sgt i32 %shift, 31")
    # Amounts of the case that does not apply are out of range: they are replaced by one that is not.
    beyond = f.value(f"select i1 {large}, i32 {f.value('sub i32 %shift, 32')}, i32 0")
    right = f.value(f"select i1 {large}, i32 1, i32 %shift")
    left = f.value(f"sub i32 32, {right}")
    a = f.value(f"ashr <4 x i32> {high}, {f.all_lanes(beyond)}")
    b = f.value(f"lshr <4 x i32> {low}, {f.all_lanes(right)}")
    b = f.value(f"or <4 x i32> {b}, {f.value(f'shl <4 x i32> {high}, {f.all_lanes(left)}')}")
    return f.end(f.value(f"select i1 {large}, <4 x i32> {a}, <4 x i32> {b}"))


def _line(shift: int) -> str:
    """int16 saturated (slope * distance + (value << shift) + 2**(shift-1)) >> shift, even and odd lanes apart."""
    f = _Function("<8 x i16>", f"line_{shift}", "<8 x i16> %distance, <8 x i16> %slope, <8 x i16> %value")
    halves = []
    for top in range(2):
        product = f.value(
            "call <4 x i32> @llvm.arm.mve.vmull.v4i32.v8i16(<8 x i16> %slope, <8 x i16> %distance, i32 0, "
            f"i32 {top})"
        )
        if shift:
            wide = f.value(
                f"call <4 x i32> @llvm.arm.mve.vshll.imm.v4i32.v8i16(<8 x i16> %value, i32 {shift}, i32 0, i32 {top})"
            )
        else:
            words = f.value("bitcast <8 x i16> %value to <4 x i32>")
            if not top:
                words = f.value(f"shl <4 x i32> {words}, splat (i32 16)")
            wide = f.value(f"ashr <4 x i32> {words}, splat (i32 16)")
        halves.append(f.add(product, wide))
    if not shift:  # there is no narrowing by 0
        limited = []
        for half in halves:
            over = f.value(f"icmp slt <4 x i32> {half}, splat (i32 32767)")
            low = f.value(f"select <4 x i1> {over}, <4 x i32> {half}, <4 x i32> splat (i32 32767)")
            under = f.value(f"icmp sgt <4 x i32> {low}, splat (i32 -32768)")
            limited.append(f.value(f"select <4 x i1> {under}, <4 x i32> {low}, <4 x i32> splat (i32 -32768)"))
        even = f.value(f"and <4 x i32> {limited[0]}, splat (i32 65535)")
        odd = f.value(f"shl <4 x i32> {limited[1]}, splat (i32 16)")
        return f.end(f.value(f"bitcast <4 x i32> {f.value(f'or <4 x i32> {even}, {odd}')} to <8 x i16>"))
    result = "undef"
    for top, half in enumerate(halves):
        result = f.value(
            f"call <8 x i16> @llvm.arm.mve.vshrn.v8i16.v4i32(<8 x i16> {result}, <4 x i32> {half}, i32 {shift}, i32 1, "
            f"i32 1, i32 0, i32 0, i32 {top})"
        )
    return f.end(result)


def _look_up() -> str:
    """int16 entries at an address, by index."""
    f = _Function("<8 x i16>", "look_up", "ptr %table, <8 x i16> %index")
    gather = (
        "@llvm.arm.mve.vldr.gather.offset.v8i16.p0.v8i16(ptr %table, <8 x i16> %index, i32 16, i32 1, i32 0)"
    )
    return f.end(f.value(f"call <8 x i16> {gather}"))


def _add_pairs() -> str:
    """Sums of neighbours of int16 lanes, added to int32 lanes."""
    f = _Function("<4 x i32>", "add_pairs", "<4 x i32> %total, <8 x i16> %values")
    words = f.value("bitcast <8 x i16> %values to <4 x i32>")
    even = f.value(f"ashr <4 x i32> {f.value(f'shl <4 x i32> {words}, splat (i32 16)')}, splat (i32 16)")
    odd = f.value(f"ashr <4 x i32> {words}, splat (i32 16)")
    return f.end(f.add("%total", f.add(even, odd)))


def _first_lane(f: _Function, more: str) -> str:
    """%total, two int64 lanes, with a sum added to the first."""
    old = f.value("extractelement <2 x i64> %total, i32 0")
    new = f.value(f"add i64 {old}, {more}")
    return f.value(f"insertelement <2 x i64> %total, i64 {new}, i32 0")


def _add_squares() -> str:
    f = _Function("<2 x i64>", "add_squares", "<2 x i64> %total, <8 x i16> %values")
    call = "i32 0, i32 0, i32 0, i32 0, i32 0, <8 x i16> %values, <8 x i16> %values"
    pair = f.value(f"call {{ i32, i32 }} @llvm.arm.mve.vmlldava.v8i16({call})")
    low, high = (f.value(f"extractvalue {{ i32, i32 }} {pair}, {n}") for n in range(2))
    low = f.value(f"zext i32 {low} to i64")
    high = f.value(f"shl i64 {f.value(f'zext i32 {high} to i64')}, 32")
    return f.end(_first_lane(f, f.value(f"or i64 {low}, {high}")))


def _add_sizes() -> str:
    f = _Function("<2 x i64>", "add_sizes", "<2 x i64> %total, <4 x i32> %values")
    sizes = f.value("call <4 x i32> @llvm.abs.v4i32(<4 x i32> %values, i1 false)")
    return f.end(_first_lane(f, f.value(f"call i64 @llvm.arm.mve.addlv.v4i32(<4 x i32> {sizes}, i32 1)")))


def text() -> str:
    """All of them. Those that nothing calls leave nothing behind."""
    functions = [_scaled(n, form) for n in range(1, MOST_TERMS + 1) for form in ("below", "at", "above")]
    functions += [_line(shift) for shift in range(MOST_SHIFT + 1)]
    functions += [_scaled_by(), _look_up(), _add_pairs(), _add_squares(), _add_sizes()]
    return _DECLARATIONS + "\n".join(functions) + "\n"
