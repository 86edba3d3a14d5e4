/** Draws a band: its lanes one below the other, the names of areas, and addresses below. */

import { oneLine } from '../../printable.js';
import { areaLabel } from '../describe.js';
import { type Axis, drawLane, firstEndingAfter, LEVELS, type View } from '../layout.js';
import type { MapSpace } from '../model.js';
import { COLORS, familyIndex, type Lane, labelColor } from '../palette.js';

/** In CSS pixels. */
export const LANE_HEIGHT: Record<Lane, number> = { kind: 20, state: 20, content: 20, changed: 12 };
export const LANE_GAP = 2;
const ADDRESS_HEIGHT = 18;
/** Room for an address, and what is left free before the next one. */
const ADDRESS_ROOM = 14;

export const bandHeight = (lanes: readonly Lane[]): number =>
  lanes.reduce((height, lane) => height + LANE_HEIGHT[lane] + LANE_GAP, 0) + ADDRESS_HEIGHT;

export interface Picture {
  space: MapSpace;
  axis: Axis;
  view: View;
  lanes: readonly Lane[];
  theme: 'light' | 'dark';
  /** Indexes of areas; -1 for none. */
  hovered: number;
  selected: number;
}

/** @param width, height in CSS pixels; a canvas has `ratio` times as many of its own */
export function drawBand(
  context: CanvasRenderingContext2D,
  picture: Picture,
  { width, height, ratio }: { width: number; height: number; ratio: number },
): void {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, width * ratio, height * ratio);
  const columns = Math.max(1, Math.round(width * ratio));
  let top = 0;
  for (const lane of picture.lanes) {
    const laneHeight = LANE_HEIGHT[lane] * ratio;
    const base = top * ratio;
    drawLane(picture.axis, lane, picture.view, columns, (color, x, count, bottom, upper) => {
      context.fillStyle = COLORS[lane][color]?.[picture.theme] ?? '';
      const y = Math.round(base + laneHeight * (1 - upper / LEVELS));
      const end = Math.round(base + laneHeight * (1 - bottom / LEVELS));
      context.fillRect(x, y, count, end - y);
    });
    top += LANE_HEIGHT[lane] + LANE_GAP;
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const scale = width / (picture.view.to - picture.view.from);
  const xOf = (position: number) => (position - picture.view.from) * scale;
  drawAreas(context, picture, xOf, width, top);
  for (const [index, isSelected] of [[picture.hovered, false] as const, [picture.selected, true] as const]) {
    if (index >= 0) outline(context, picture, index, isSelected, xOf, top - LANE_GAP);
  }
}

/** Borders and names of the areas that are wide enough, and addresses where there is room. */
function drawAreas(
  context: CanvasRenderingContext2D,
  { space, axis, view, theme }: Picture,
  xOf: (position: number) => number,
  width: number,
  bottom: number,
): void {
  const ink = theme === 'dark' ? '#a2a9b5' : '#59606c';
  const paper = theme === 'dark' ? '#14171c' : '#ffffff';
  context.textBaseline = 'middle';
  let free = 0;
  for (let i = firstEndingAfter(axis.ends, view.from); i < space.areas.length; i++) {
    const [from, to] = [xOf(axis.starts[i] as number), xOf(axis.ends[i] as number)];
    if (from > width) break;
    const area = space.areas[i];
    if (!area) break;
    if (to - from > 3 && from > 0) {
      context.fillStyle = paper;
      context.fillRect(Math.round(from) - 0.5, 0, 1, bottom - LANE_GAP);
    }
    context.fillStyle = labelColor(familyIndex(area.kind));
    drawLabel(context, oneLine(areaLabel(area)), Math.max(from, 0), Math.min(to, width));
    free = drawAddress(context, area.start, { from, free, width, bottom, ink });
  }
}

function drawLabel(context: CanvasRenderingContext2D, label: string, from: number, to: number): void {
  // Measuring text is slow; nothing is narrower than this.
  if (to - from < 8 + 4 * label.length && to - from < 40) return;
  context.font = '11px system-ui, sans-serif';
  const room = to - from - 8;
  const text = fitted(context, label, room);
  if (text !== '') context.fillText(text, from + 4, LANE_HEIGHT.kind / 2 + 0.5);
}

/** A text that fits, with an ellipsis where it is cut; empty if too little would remain. */
function fitted(context: CanvasRenderingContext2D, text: string, room: number): string {
  const width = context.measureText(text).width;
  if (width <= room) return text;
  const letters = Math.floor((text.length * room) / width) - 1;
  return letters < 4 ? '' : `${text.slice(0, letters)}…`;
}

/** Returns where the next address may begin. */
function drawAddress(
  context: CanvasRenderingContext2D,
  address: string,
  { from, free, width, bottom, ink }: { from: number; free: number; width: number; bottom: number; ink: string },
): number {
  if (from < free || from < 0) return free;
  context.font = '10px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace';
  const length = context.measureText(address).width;
  if (from + length > width) return free;
  context.fillStyle = ink;
  context.fillRect(Math.round(from), bottom - 1, 1, 5);
  context.fillText(address, Math.round(from) + 3, bottom + 9);
  return from + length + ADDRESS_ROOM;
}

function outline(
  context: CanvasRenderingContext2D,
  { axis, theme }: Picture,
  index: number,
  isSelected: boolean,
  xOf: (position: number) => number,
  bottom: number,
): void {
  const [from, to] = [xOf(axis.starts[index] as number), xOf(axis.ends[index] as number)];
  const width = Math.max(3, to - from);
  context.lineWidth = isSelected ? 2 : 1;
  context.strokeStyle = theme === 'dark' ? '#ffffff' : '#000000';
  context.strokeRect(from + (to - from - width) / 2, context.lineWidth / 2, width, bottom - context.lineWidth);
}
