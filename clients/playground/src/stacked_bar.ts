// A labelled bar of parts: what a whole is made of. The text beside it says the same, so the bar itself says nothing to
// screen readers.
import { element } from "./element.ts";

export interface BarPart {
  readonly name: string;
  /** In the unit of the whole. */
  readonly size: number;
  /** The size as text, with its unit. */
  readonly text: string;
  /** Class that colours it. */
  readonly kind: string;
}

export function stackedBar(title: string, parts: readonly BarPart[]): HTMLElement {
  const present = parts.filter(({ size }) => size > 0);
  const total = present.reduce((sum, { size }) => sum + size, 0);
  const bar = element("div", { class: "bar", "aria-hidden": "true" });
  for (const { size, kind } of present) {
    const part = element("span", { class: `part ${kind}` });
    part.style.flexGrow = String(size / total);
    bar.append(part);
  }
  const legend = element(
    "ul",
    { class: "legend" },
    ...present.map(({ name, text, kind }) =>
      element(
        "li",
        {},
        element("i", { class: `swatch ${kind}`, "aria-hidden": "true" }),
        `${name} `,
        element("b", {}, text),
      )
    ),
  );
  return element("div", { class: "block" }, element("h3", {}, title), bar, legend);
}
