// Pods on the map: each kind is painted once for a scale, and copied to where pods stand.

import { isolationKind } from "./cluster.js";

export const POD_RADIUS = 9;
/** How pods look: isolated both ways, for ingress or egress only, not isolated; no pod; not what is looked for. */
export const [BOTH, INGRESS, EGRESS, OPEN, OUTSIDE, DIM] = [0, 1, 2, 3, 4, 5];
export const KINDS = [BOTH, INGRESS, EGRESS, OPEN, OUTSIDE, DIM];
const RIM = 2;
// So few are shown one by one, and by name, also from afar.
const MAX_FEW = 40;

export const isFew = ({ places }) => places.length <= MAX_FEW;

/** How each pod and each workload looks. */
export function kindsOf({ members, shape, words, marked }) {
  const isMeant = (member) => words(member) && (!marked || !member.namespace || marked.has(member.id));
  const own = (member) => {
    const kind = isolationKind(member);
    if (kind !== "one") return kind === "both" ? BOTH : OPEN;
    return member.isolation.ingress.policies.length > 0 ? INGRESS : EGRESS;
  };
  const pods = members.map((member) => (!member.namespace ? OUTSIDE : isMeant(member) ? own(member) : DIM));
  const workloads = shape.workloads.map(({ group, members }) => (shape.groups[group].isOutside ? OUTSIDE : members.some(isMeant) ? own(members[0]) : DIM));
  return { pods: Uint8Array.from(pods), workloads: Uint8Array.from(workloads) };
}

/** A picture of each kind, at one scale and in one set of colours. */
export class Sprites {
  constructor() {
    this.pictures = KINDS.map(() => document.createElement("canvas"));
    [this.scale, this.colours] = [0, null];
  }

  paint(scale, colours) {
    if (scale === this.scale && colours === this.colours) return;
    [this.scale, this.colours] = [scale, colours];
    // Even, so that the middle is between pixels.
    const size = 2 * Math.ceil((POD_RADIUS + RIM) * scale);
    for (const kind of KINDS) {
      const picture = this.pictures[kind];
      // This also empties it.
      [picture.width, picture.height] = [size, size];
      const context = picture.getContext("2d");
      context.setTransform(scale, 0, 0, scale, size / 2, size / 2);
      paintPod(context, kind, colours);
    }
  }
}

function paintPod(context, kind, colours) {
  context.lineWidth = RIM;
  context.fillStyle = kind === BOTH ? colours.pod : colours.panel;
  context.strokeStyle = kind <= EGRESS ? colours.pod : colours["pod-open"];
  context.beginPath();
  context.arc(0, 0, kind === OUTSIDE ? POD_RADIUS * 0.7 : POD_RADIUS, 0, 2 * Math.PI);
  context.fill();
  context.globalAlpha = kind === DIM ? 0.35 : 1;
  context.stroke();
  if (kind !== INGRESS && kind !== EGRESS) return;
  // The upper half stands for ingress, the lower for egress.
  context.beginPath();
  context.arc(0, 0, POD_RADIUS, 0, Math.PI, kind === INGRESS);
  context.fillStyle = colours.pod;
  context.fill();
}

export function drawPods(map) {
  const { context, canvas, circles, view, density, kinds, sprites } = map;
  const scale = view.scale * density;
  sprites.paint(scale, map.colours);
  const half = sprites.pictures[0].width / 2;
  const left = canvas.width / 2 - view.x * scale - half;
  const top = canvas.height / 2 - view.y * scale - half;
  context.setTransform(1, 0, 0, 1, 0, 0);
  for (let n = 0; n < kinds.pods.length; n++) {
    if (map.isSeen(n, 2)) context.drawImage(sprites.pictures[kinds.pods[n]], Math.round(circles[3 * n] * scale + left), Math.round(circles[3 * n + 1] * scale + top));
  }
}
