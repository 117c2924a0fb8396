// The curves of connections on the map.

// How far the curve of one verdict bends, so that it leaves room for the other one's.
const BENDS = { deny: 1, allow: 0.35 };
const MAX_BEND = 26;

/** The curve between two circles: its ends, the point that bends it, and where a packet that is denied stops. */
export function curveOf(from, to, verdict, direction) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const far = Math.hypot(dx, dy) || 1;
  const bend = Math.min(MAX_BEND, far * 0.14) * BENDS[verdict];
  const middle = { x: (from.x + to.x) / 2 - (dy / far) * bend, y: (from.y + to.y) / 2 + (dx / far) * bend };
  const isEarly = verdict === "deny" && direction === "egress";
  const stop = Math.min(0.45, ((isEarly ? from : to).radius + 7) / far);
  return { from, to, middle, bar: isEarly ? stop : 1 - stop };
}

export function along({ from, middle, to }, part) {
  const rest = 1 - part;
  const point = (axis) => rest * rest * from[axis] + 2 * rest * part * middle[axis] + part * part * to[axis];
  return { x: point("x"), y: point("y") };
}

/** Where and in which direction the curve stands. */
function tangent(curve, part) {
  const [at, next] = [along(curve, part), along(curve, Math.min(part + 0.01, 1.01))];
  const far = Math.hypot(next.x - at.x, next.y - at.y) || 1;
  return { at, x: (next.x - at.x) / far, y: (next.y - at.y) / far };
}

/** Where a denied connection stops. */
export function bar(context, curve) {
  const { at, x, y } = tangent(curve, curve.bar);
  context.moveTo(at.x - y * 5, at.y + x * 5);
  context.lineTo(at.x + y * 5, at.y - x * 5);
}

/** Where an allowed one arrives. */
export function arrow(context, curve) {
  const { at, x, y } = tangent(curve, curve.bar);
  context.moveTo(at.x - x * 7 - y * 4, at.y - y * 7 + x * 4);
  context.lineTo(at.x, at.y);
  context.lineTo(at.x - x * 7 + y * 4, at.y - y * 7 - x * 4);
}
