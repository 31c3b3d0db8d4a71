// The KV cache as a map: a cell a block, coloured by what it is good for, those that have just changed brighter. Where
// there are more blocks than fit, a cell stands for several and shows the busiest.
import { element } from "./element.ts";
import { percent } from "./figures.ts";
import { busiest, changes, layOut } from "./map_layout.ts";
import { colour } from "./theme.ts";

export interface CacheBlocks {
  /** A letter a block. */
  readonly device: string;
  readonly host: string;
}

const KINDS = [
  { letter: "s", name: "shared", kind: "shared", colour: "shared" },
  { letter: "h", name: "in use", kind: "new", colour: "new" },
  { letter: "c", name: "cached", kind: "cached", colour: "cached" },
  { letter: ".", name: "empty", kind: "empty", colour: "empty" },
] as const;

const HEIGHT = 150;

export class BlockMap {
  readonly node: HTMLElement;
  readonly #canvas = element("canvas", { role: "img" });
  readonly #legend = element("ul", { class: "legend" });
  readonly #aside = element("p", { class: "aside" });
  #blocks: CacheBlocks = { device: "", host: "" };
  /** By cell: readings for which it still glows. */
  #glow = new Uint8Array();
  #hitShare: number | undefined;

  constructor() {
    const head = element("div", { class: "chart-head" }, element("h3", {}, "Cache blocks"), this.#aside);
    const place = element("div", { class: "plot map" }, this.#canvas);
    this.node = element("section", { class: "card chart" }, head, place, this.#legend);
    new ResizeObserver(() => this.#draw()).observe(place);
  }

  /** @param hitShare of all prompt tokens so far, those that the cache had */
  update(blocks: CacheBlocks, hitShare: number | undefined): void {
    this.#glow = changes(this.#blocks.device, blocks.device, this.#glow);
    this.#blocks = blocks;
    this.#hitShare = hitShare;
    this.#draw();
    this.#tell();
  }

  restyle(): void {
    this.#draw();
  }

  #draw(): void {
    const width = this.#canvas.parentElement!.clientWidth, { device } = this.#blocks;
    if (width < 40 || device === "") return; // Nothing is laid out yet, or nothing to draw.
    const { cell, columns, perCell } = layOut(device.length, width, HEIGHT);
    const scale = devicePixelRatio, context = this.#canvas.getContext("2d")!;
    this.#canvas.width = width * scale;
    this.#canvas.height = HEIGHT * scale;
    this.#canvas.style.inlineSize = `${width}px`;
    this.#canvas.style.blockSize = `${HEIGHT}px`;
    context.scale(scale, scale);
    const colours = Object.fromEntries(KINDS.map(({ letter, colour: of }) => [letter, colour(of)]));
    const gap = cell > 6 ? 2 : 1;
    for (let first = 0, place = 0; first < device.length; first += perCell, place++) {
      const letter = busiest(device, first, perCell);
      const glows = this.#glow.subarray(first, first + perCell).some((left) => left > 0);
      context.globalAlpha = letter === "." || glows || letter !== "c" ? 1 : 0.62;
      context.fillStyle = colours[letter]!;
      context.fillRect((place % columns) * cell, Math.floor(place / columns) * cell, cell - gap, cell - gap);
    }
  }

  #tell(): void {
    const { device, host } = this.#blocks;
    const counts = KINDS.map(({ letter, name, kind }) => ({ name, kind, count: countOf(device, letter) }));
    const parked = { name: "parked in host memory", kind: "parked", count: countOf(host, "c") };
    const told = host === "" ? counts : [...counts, parked];
    this.#legend.replaceChildren(
      ...told.map(({ name, kind, count }) =>
        element(
          "li",
          {},
          element("i", { class: `swatch ${kind}`, "aria-hidden": "true" }),
          `${name} `,
          element("b", {}, String(count)),
        )
      ),
    );
    this.#aside.textContent = this.#hitShare === undefined
      ? ""
      : `${percent(this.#hitShare)} of prompts found in it`;
    const said = told.map(({ name, count }) => `${count} ${name}`).join(", ");
    this.#canvas.setAttribute("aria-label", `Map of ${device.length} cache blocks: ${said}`);
  }
}

function countOf(letters: string, letter: string): number {
  let count = 0;
  for (const one of letters) if (one === letter) count++;
  return count;
}
