// A small chart of the latest minutes: lines over time, by uPlot, in the page's colours.
import uPlot from "uplot";
import { element } from "./element.ts";
import { colour } from "./theme.ts";

export interface Line {
  readonly name: string;
  /** Name of a colour of the style sheet. */
  readonly colour: string;
  readonly filled?: boolean;
  readonly dashed?: boolean;
}

export interface ChartOptions {
  readonly title: string;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
  /** Least that the scale spans. */
  readonly leastMax: number;
  /** Room for the numbers beside the scale, pixels. */
  readonly axisWidth?: number;
}

const WINDOW_S = 120;
const HEIGHT = 150;

export class LineChart {
  readonly node: HTMLElement;
  readonly #options: ChartOptions;
  readonly #place = element("div", { class: "plot", role: "img" });
  readonly #legend = element("ul", { class: "legend" });
  readonly #times: number[] = [];
  /** By line; null where there was nothing to measure. */
  readonly #values: (number | null)[][];
  #plot: uPlot | undefined;

  constructor(options: ChartOptions) {
    this.#options = options;
    this.#values = options.lines.map(() => []);
    this.node = element(
      "section",
      { class: "card chart" },
      element("h3", {}, options.title),
      this.#place,
      this.#legend,
    );
    new ResizeObserver(() => this.#resize()).observe(this.#place);
    this.#tell();
  }

  /** @param at seconds; each later than the one before */
  add(at: number, values: readonly (number | undefined)[]): void {
    this.#times.push(at);
    for (const [index, list] of this.#values.entries()) list.push(values[index] ?? null);
    while (this.#times[0]! < at - WINDOW_S) {
      this.#times.shift();
      for (const list of this.#values) list.shift();
    }
    this.#plot?.setData(this.#data(), true);
    this.#tell();
  }

  /** Draws anew, in the colours that hold now. */
  restyle(): void {
    this.#plot?.destroy();
    this.#plot = undefined;
    this.#resize();
  }

  #data(): uPlot.AlignedData {
    return [this.#times, ...this.#values];
  }

  #resize(): void {
    const width = this.#place.clientWidth;
    if (width === 0) return;
    if (this.#plot) this.#plot.setSize({ width, height: HEIGHT });
    else this.#plot = new uPlot(this.#plotOptions(width), this.#data(), this.#place);
  }

  #plotOptions(width: number): uPlot.Options {
    const { lines, format, leastMax } = this.#options;
    const axis = {
      stroke: colour("quiet"),
      font: `11px ${getComputedStyle(document.body).fontFamily}`,
      ticks: { show: false },
    };
    const grid = { stroke: colour("hairline"), width: 1 };
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 14, 0, 0],
      scales: {
        x: { time: false, range: (_, __, max) => [max - WINDOW_S, max] },
        y: { range: (_, __, max) => [0, Math.max(leastMax, (max ?? 0) * 1.1)] },
      },
      axes: [
        {
          ...axis,
          size: 22,
          grid: { show: false },
          splits: (_, __, min, max) => [min + (max - min) / 2, max],
          values: (plot, splits) =>
            splits.map((at) =>
              at === plot.scales.x!.max ? "now" : `−${Math.round(plot.scales.x!.max! - at)} s`
            ),
        },
        {
          ...axis,
          size: this.#options.axisWidth ?? 40,
          grid,
          space: 36,
          values: (_, splits) => splits.map(format),
        },
      ],
      series: [
        {},
        ...lines.map(({ name, colour: of, filled, dashed }) => ({
          label: name,
          stroke: colour(of),
          width: 1.75,
          points: { show: false },
          ...(filled && { fill: colour(`${of}-wash`) }),
          ...(dashed && { dash: [4, 3] }),
        })),
      ],
    };
  }

  /** The latest values as text, which says to everybody what the picture does. */
  #tell(): void {
    const { title, lines, format } = this.#options;
    const latest = this.#values.map((list) => list.at(-1) ?? undefined);
    const texts = latest.map((value) => value === undefined ? "–" : format(value));
    this.#legend.replaceChildren(...lines.map(({ name, colour: of, dashed }, index) => {
      const swatch = element("i", {
        class: dashed ? "swatch line dashed" : "swatch line",
        "aria-hidden": "true",
      });
      swatch.style.setProperty("--swatch", `var(--${of})`);
      return element("li", {}, swatch, `${name} `, element("b", {}, texts[index]!));
    }));
    const said = lines.map(({ name }, index) => `${name} ${texts[index]}`).join(", ");
    this.#place.setAttribute("aria-label", `${title}, the latest two minutes: ${said}`);
  }
}
