/** Which colors are used now: those of the reader's theme, and on paper the light ones. */

const dark = matchMedia('(prefers-color-scheme: dark)');
const print = matchMedia('print');
let isPrinting = false;

export const theme = (): 'light' | 'dark' => (dark.matches && !isPrinting ? 'dark' : 'light');

/** Calls back whenever the picture has to be drawn again in other colors. */
export function onThemeChange(redraw: (isPrinting: boolean) => void): void {
  const change = (printing: boolean) => {
    isPrinting = printing;
    redraw(printing);
  };
  dark.addEventListener('change', () => change(isPrinting));
  print.addEventListener('change', ({ matches }) => change(matches));
  addEventListener('beforeprint', () => change(true));
  addEventListener('afterprint', () => change(false));
}
