// Who may reach a pod, and whom it may reach: workloads by ports.

import { element, plain } from "./elements.js";

const WORDS = { allow: "may", deny: "may not", mixed: "over one IP version" };
const SIGNS = { allow: "✓", deny: "✕", mixed: "½" };

function matrix(title, { ports, rows }, onask) {
  const head = element("tr", {}, element("th", { scope: "col" }, title), ports.map(({ protocol, port }) => element("th", { scope: "col", class: "port" }, port === null ? "others" : `${protocol === "TCP" ? "" : `${protocol} `}${port}`)));
  const body = [];
  let namespace;
  for (const row of rows) {
    if (row.namespace !== namespace) {
      namespace = row.namespace;
      body.push(element("tr", { class: "space" }, element("th", { scope: "rowgroup", colspan: ports.length + 1 }, namespace === null ? "Addresses" : plain(namespace, 120))));
    }
    const name = element("th", { scope: "row" }, plain(row.name, 160), row.pods > 1 && element("span", { class: "soft" }, ` ×${row.pods}`));
    const cells = row.cells.map((cell, n) => {
      const { protocol, port } = ports[n];
      const label = `${row.name} ${port === null ? "other ports" : `${protocol} ${port}`}: ${WORDS[cell]}`;
      const sign = port === null ? SIGNS[cell] : element("button", { type: "button", title: plain(label, 300), "aria-label": plain(label, 300), onclick: () => onask(row.end, ports[n]) }, SIGNS[cell]);
      return element("td", { class: cell, title: plain(label, 300) }, sign);
    });
    body.push(element("tr", {}, name, cells));
  }
  return element("div", { class: "matrix", tabindex: "0", role: "region", "aria-label": title }, element("table", {}, element("thead", {}, head), element("tbody", {}, body)));
}

/** Both directions; `onask` is called with a direction, the other end and the port of a cell. */
export function reachContent(reach, onask) {
  return [
    matrix("May connect to it", reach.ingress, (end, port) => onask("from", end, port)),
    matrix("It may connect to", reach.egress, (end, port) => onask("to", end, port)),
    element("p", { class: "soft" }, "Pods with the same labels are one row; one of them is judged. Choose a cell for the reason."),
    reach.left_out.map((text) => element("p", { class: "soft" }, `Left out: ${text}.`)),
  ];
}
