// How a product on matrix units is divided among workgroups, by the number of rows of x: the form of a workgroup's tile,
// and in how many parts the depth is taken.
import type { GpuCaps } from "../../device/caps.ts";
import { CORES } from "../cores.ts";
import { HALVES_ALIGNMENT } from "../half_values.ts";
import { canBeWritten, type MatrixForm, tileColumns, tileRows } from "./matrix_form.ts";

/** Parts of the depth, each a workgroup's; their sums have to be added up. */
export interface Parts {
  /** How many, where the rows of x take so many tiles. */
  of(tilesDown: number): number;
  /** WGSL: the same, `fn partsOf(tilesDown: u32) -> u32`. */
  readonly code: string;
}

export interface Division {
  readonly form: MatrixForm;
  /** Undefined = the depth is taken whole. */
  readonly parts?: Parts;
}

/** A tile of many rows, whose depth is taken whole. */
interface WholeTile {
  readonly division: Division;
  /** Workgroups that a core works on at once. */
  readonly atOnce: number;
  /** What they take, beside another tile's. */
  readonly time: number;
}

export interface Product {
  /** Rows of the weight's shard. */
  readonly shardRows: number;
  /** 16-byte words of a row of x in halves. */
  readonly xWords: number;
  /** Whether adding parts up costs no dispatch of its own. */
  readonly sumIsFree: boolean;
}

/** Workgroups of the smallest tile of many rows that keep so many cores busy; fewer are taken in parts. */
const ENOUGH_WORKGROUPS = 100;
/** Workgroups to aim at where parts are taken: of many rows, and of few, whose workgroups have more to read on its way. */
const WANTED_WORKGROUPS = 512;
const WANTED_OF_FEW_ROWS = 256;
const MOST_PARTS = 16;
/** Columns of x that go through workgroup memory at once, at least: a group of int4. */
const FEWEST_DEEP = 32;
/** Depth from which parts are worth a dispatch that adds them up, in words of x. */
const DEEP_WORDS = 512;

/** The divisions of one product. */
export class Divisions {
  readonly #fewRows: readonly Division[];
  readonly #whole: readonly WholeTile[];
  readonly #inParts: Division;
  readonly #shardRows: number;

  private constructor(product: Product, fewRows: Division[], { whole, inParts }: FormsOfManyRows) {
    this.#shardRows = product.shardRows;
    this.#fewRows = fewRows;
    this.#whole = whole;
    this.#inParts = { form: inParts, parts: partsByTiles(inParts, product) };
  }

  /** Undefined without matrix units, or with fragments for which the forms cannot be written. */
  static of(product: Product, caps: GpuCaps): Divisions | undefined {
    const many = formsOfManyRows(caps);
    if (!many) return undefined;
    return new Divisions(product, divisionsOfFewRows(product, caps), many);
  }

  /** For so many rows of x. */
  at(rows: number): Division {
    const few = this.#fewRows.find(({ form }) => rows <= tileRows(form));
    if (few) return few;
    if (this.#tiles(this.#inParts.form, rows) < ENOUGH_WORKGROUPS) return this.#inParts;
    const times = this.#whole.map(({ division: { form }, atOnce, time }) =>
      Math.ceil(this.#tiles(form, rows) / (CORES * atOnce)) * time
    );
    return this.#whole[times.indexOf(Math.min(...times))].division;
  }

  #tiles(form: MatrixForm, rows: number): number {
    const [across, down] = tilesOf(form, this.#shardRows, rows);
    return across * down;
  }
}

/** Tiles of a form, [across, down]. */
export function tilesOf(form: MatrixForm, shardRows: number, rows: number): [number, number] {
  return [Math.ceil(shardRows / tileColumns(form)), Math.ceil(rows / tileRows(form))];
}

/** Whether products of many rows can be written for the device. */
export function hasMatrixForms(caps: GpuCaps): boolean {
  return formsOfManyRows(caps) !== undefined;
}

interface FormsOfManyRows {
  readonly whole: readonly WholeTile[];
  readonly inParts: MatrixForm;
}

/**
 * Whole products, from the largest tile to the smallest: the larger, the fewer fragments are read for each that is
 * multiplied, but the more of the cores' last turn may be left empty. And the tile that is taken in parts.
 */
function formsOfManyRows(caps: GpuCaps): FormsOfManyRows | undefined {
  const { matrixFragment, subgroupMaxSize } = caps;
  if (!matrixFragment) return undefined;
  const form = (subgroupsAcross: number, down: number, across: number, slices: number): MatrixForm => ({
    fragment: matrixFragment,
    swapped: false,
    lanes: subgroupMaxSize,
    subgroupsDown: 2,
    subgroupsAcross,
    subgroupsDeep: 1,
    fragmentsDown: down,
    fragmentsAcross: across,
    depth: Math.max(slices * matrixFragment.k, FEWEST_DEEP),
    ahead: 1,
  });
  // How long each takes, as measured on an H200: docs/performance.md.
  const whole = [
    { division: { form: form(4, 4, 4, 2) }, atOnce: 1, time: 1.9 },
    { division: { form: form(4, 4, 2, 4) }, atOnce: 1, time: 1 },
    { division: { form: form(2, 2, 2, 4) }, atOnce: 2, time: 0.6 },
  ];
  const served = whole.every(({ division: { form } }) =>
    HALVES_ALIGNMENT % form.depth === 0 && canBeWritten(form, caps)
  );
  return served ? { whole, inParts: whole[2].division.form } : undefined;
}

/**
 * Few rows are one tile, and reading the weight is what takes time: every workgroup has a deep piece of it on its way,
 * which its subgroups share by depth, eight of them or, above the narrow fragment, sixteen. From the fewest rows to the
 * most.
 */
function divisionsOfFewRows(product: Product, caps: GpuCaps): Division[] {
  const { narrowFragment } = caps;
  const shapes = [
    { narrow: true, fragments: 1 },
    ...[1, 2, 4].map((fragments) => ({ narrow: false, fragments })),
  ];
  return shapes.flatMap(({ narrow, fragments }) => {
    const fragment = narrow ? narrowFragment : caps.matrixFragment;
    if (!fragment) return [];
    const wholeDepths = (slices: number) => product.xWords * 8 % (slices * fragment.k) === 0;
    const deepest = fragments === 1 && wholeDepths(16);
    const subgroupsDown = fragments === 4 ? 2 : 1;
    const shared = {
      fragment,
      swapped: narrow,
      lanes: caps.subgroupMaxSize,
      subgroupsDown,
      fragmentsDown: fragments / subgroupsDown,
      subgroupsDeep: 8 / subgroupsDown,
      depth: (deepest ? 16 : 8) * fragment.k,
      // The most rows need their registers for sums.
      ahead: fragments === 4 ? 2 as const : 3 as const,
    };
    const wide = (subgroupsAcross: number): MatrixForm => ({
      ...shared,
      subgroupsAcross,
      fragmentsAcross: 2,
    });
    const slim: MatrixForm = narrow ? { ...wide(1), fragmentsAcross: 1 } : wide(1);
    if (!wholeDepths(8) || !canBeWritten(slim, caps)) return [];
    const widest = wide(narrow ? 1 : 2);
    return [
      divideFewRows(
        canBeWritten(widest, caps) ? widest : slim,
        narrow ? slim : deepened(slim, product, caps),
        product,
      ),
    ];
  });
}

/** The form with sixteen subgroups that share the depth, where they can: of slim tiles there are too few workgroups. */
function deepened(form: MatrixForm, { xWords }: Product, caps: GpuCaps): MatrixForm {
  const depth = 16 * form.fragment.k;
  const deep: MatrixForm = { ...form, subgroupsDeep: 16 / form.subgroupsDown, depth };
  return xWords * 8 % depth === 0 && canBeWritten(deep, caps) ? deep : form;
}

/** Tiles as they are if they are enough; else in parts where that pays, or slimmer ones. */
function divideFewRows(wide: MatrixForm, slim: MatrixForm, product: Product): Division {
  const [across] = tilesOf(wide, product.shardRows, 1);
  const wanted = WANTED_OF_FEW_ROWS / wide.subgroupsAcross;
  if (across >= 0.75 * wanted) return { form: wide };
  if (!product.sumIsFree && product.xWords < DEEP_WORDS) return { form: slim };
  const steps = product.xWords * 8 / wide.depth;
  const parts = Math.min(Math.ceil(wanted / across), Math.ceil(steps / 2), MOST_PARTS);
  if (parts === 1) return { form: wide };
  return {
    form: wide,
    parts: { of: () => parts, code: `fn partsOf(tilesDown: u32) -> u32 { return ${parts}u; }` },
  };
}

function partsByTiles(form: MatrixForm, { shardRows, xWords }: Product): Parts {
  const [across] = tilesOf(form, shardRows, 1), steps = xWords * 8 / form.depth;
  return {
    of: (tilesDown) => Math.min(Math.ceil(WANTED_WORKGROUPS / (tilesDown * across)), MOST_PARTS, steps),
    code: `fn partsOf(tilesDown: u32) -> u32 {
    let tiles = tilesDown * ${across}u;
    return min(min((${WANTED_WORKGROUPS}u + tiles - 1u) / tiles, ${MOST_PARTS}u), ${steps}u);
}`,
  };
}
