import type { Model } from "./layout";

const PAD_PX = 4;
const BAR_PX_MAX = 6;

/** Paint every bar of a run into a canvas, whatever its size; steps from top to bottom. Colours are the theme's. */
export function drawOverview(canvas: HTMLCanvasElement, model: Model, whole: number, now: number) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const context = canvas.getContext("2d");
  if (!context || width === 0) return;
  const scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  context.scale(scale, scale);
  const theme = getComputedStyle(document.documentElement);
  const colours = new Map<string, string>();
  const colour = (name: string) => {
    const known = colours.get(name);
    if (known !== undefined) return known;
    const found = theme.getPropertyValue(`--${name}-solid`).trim() || theme.getPropertyValue("--waiting-solid").trim();
    colours.set(name, found);
    return found;
  };
  const pitch = (height - 2 * PAD_PX) / Math.max(1, model.groups.length);
  const bar = Math.max(1, Math.min(BAR_PX_MAX, pitch * 0.7));
  model.groups.forEach((group, index) => {
    const y = PAD_PX + index * pitch;
    for (const item of group.items) {
      for (const { pattern, status, from, to } of item.segments) {
        context.globalAlpha = pattern === "work" ? 1 : 0.45;
        context.fillStyle = colour(status === "lost" ? "failed" : status);
        const x = (from / whole) * width;
        context.fillRect(x, y, Math.max(1, ((to ?? now) / whole) * width - x), bar);
      }
    }
  });
}
