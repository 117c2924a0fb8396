// The curves of connections on the map. A curve is kept and set anew: a picture has hundreds.

// How far the curve of one verdict bends, so that it leaves room for the other one's.
const BENDS = { deny: 1, allow: 0.35 };
// In pixels, from afar, and else as far as at the scale 1.
const MAX_BEND = 26;

/** A curve: where it begins, what bends it, where it ends, and which part of it a packet goes. `x` and `y` are the point that was looked for last. */
export const newCurve = () => ({ fromX: 0, fromY: 0, midX: 0, midY: 0, toX: 0, toY: 0, stop: 1, isEarly: false, x: 0, y: 0 });

/** Sets the curve between two circles of an array of `x`, `y` and radius; where `isCut`, from rim to rim. */
export function setCurve(curve, circles, from, to, verdict, direction, scale, isCut) {
  let [x, y, toX, toY] = [circles[3 * from], circles[3 * from + 1], circles[3 * to], circles[3 * to + 1]];
  let [dx, dy] = [toX - x, toY - y];
  let far = Math.hypot(dx, dy) || 1;
  [dx, dy] = [dx / far, dy / far];
  const [radius, toRadius] = [circles[3 * from + 2], circles[3 * to + 2]];
  if (isCut) {
    [x, y, toX, toY] = [x + dx * radius, y + dy * radius, toX - dx * toRadius, toY - dy * toRadius];
    far = Math.max(1, far - radius - toRadius);
  }
  const bend = Math.min(MAX_BEND / Math.min(1, scale), far * 0.14) * BENDS[verdict];
  [curve.fromX, curve.fromY, curve.toX, curve.toY] = [x, y, toX, toY];
  [curve.midX, curve.midY] = [(x + toX) / 2 - dy * bend, (y + toY) / 2 + dx * bend];
  curve.isEarly = verdict === "deny" && direction === "egress";
  const left = Math.min(0.45, ((isCut ? 0 : curve.isEarly ? radius : toRadius) + 7 / Math.min(1, scale)) / far);
  curve.stop = curve.isEarly ? left : 1 - left;
  return curve;
}

/** Looks for the point at a part of the curve. */
export function along(curve, part) {
  const rest = 1 - part;
  curve.x = rest * rest * curve.fromX + 2 * rest * part * curve.midX + part * part * curve.toX;
  curve.y = rest * rest * curve.fromY + 2 * rest * part * curve.midY + part * part * curve.toY;
}

/** Draws a bar where a denied connection stops, or an arrow where an allowed one arrives. `unit` is the length of a pixel. */
export function mark(context, curve, verdict, unit) {
  const rest = 1 - curve.stop;
  let dx = rest * (curve.midX - curve.fromX) + curve.stop * (curve.toX - curve.midX);
  let dy = rest * (curve.midY - curve.fromY) + curve.stop * (curve.toY - curve.midY);
  const far = (Math.hypot(dx, dy) || 1) / unit;
  [dx, dy] = [dx / far, dy / far];
  along(curve, curve.stop);
  const { x, y } = curve;
  if (verdict === "deny") {
    context.moveTo(x - dy * 5, y + dx * 5);
    context.lineTo(x + dy * 5, y - dx * 5);
  } else {
    context.moveTo(x - dx * 7 - dy * 4, y - dy * 7 + dx * 4);
    context.lineTo(x, y);
    context.lineTo(x - dx * 7 + dy * 4, y - dy * 7 - dx * 4);
  }
}
