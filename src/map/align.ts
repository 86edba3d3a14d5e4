/**
 * Where areas begin along the axis of their space, or along those of several spaces: dumps of one process at different times.
 * There an address that both have is at the same place, and what only one has leaves room in the other. A large gap in the
 * addresses is a narrow one here.
 */

/** A gap is drawn where so many bytes between two areas are mapped by none: 1 GiB. */
const GAP_BYTES = 2 ** 30;
const MOST_GAPS = 12;

export interface PlacedArea {
  /** Addresses. */
  start: bigint;
  end: bigint;
  /** Along the axis. */
  width: number;
}

/**
 * The positions of the areas of each space, which are by ascending address, and the length that all axes have.
 * @param gapWidth of a gap
 */
export function alignedStarts(
  spaces: readonly (readonly PlacedArea[])[],
  gapWidth: number,
): { starts: Float64Array[]; length: number } {
  const starts = spaces.map((areas) => new Float64Array(areas.length));
  const order = spaces
    .flatMap((areas, space) => areas.map((area, index) => ({ area, space, index })))
    .sort((a, b) => (a.area.start < b.area.start ? -1 : Number(a.area.start > b.area.start)));
  const gaps = largestGaps(order.map(({ area }) => area));
  /** Of each space the area that was placed last. */
  const last: (PlacedArea & { at: number })[] = [];
  const positionOf = (address: bigint) => {
    let position = 0;
    for (const { start, end, width, at } of last) {
      const part = address < end ? Number(address - start) / Number(end - start) : 1;
      position = Math.max(position, at + part * width);
    }
    return position;
  };
  for (let i = 0; i < order.length; ) {
    const address = order[i]?.area.start as bigint;
    const at = positionOf(address) + (gaps.has(i) ? gapWidth : 0);
    const placed: typeof last = [];
    for (; order[i]?.area.start === address; i++) {
      const { area, space, index } = order[i] as (typeof order)[number];
      (starts[space] as Float64Array)[index] = at;
      placed[space] = { ...area, at };
    }
    Object.assign(last, placed);
  }
  return { starts, length: positionOf(2n ** 64n) };
}

/** Indexes of the areas before which the largest gaps are. */
function largestGaps(areas: readonly PlacedArea[]): Set<number> {
  const gaps: { i: number; bytes: number }[] = [];
  let end = areas[0]?.start ?? 0n;
  for (const [i, area] of areas.entries()) {
    const bytes = Number(area.start - end);
    if (bytes >= GAP_BYTES) gaps.push({ i, bytes });
    if (area.end > end) end = area.end;
  }
  gaps.sort((a, b) => b.bytes - a.bytes);
  return new Set(gaps.slice(0, MOST_GAPS).map(({ i }) => i));
}
