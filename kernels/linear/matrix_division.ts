// How a product on matrix units is divided among workgroups, by the number of rows of x: the form of a workgroup's tile,
// and in how many parts the depth is taken.
import type { GpuCaps } from "../../device/caps.ts";
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

export interface Product {
  /** Rows of the weight's shard. */
  readonly shardRows: number;
  /** 16-byte words of a row of x in halves. */
  readonly xWords: number;
  /** Whether adding parts up costs no dispatch of its own. */
  readonly sumIsFree: boolean;
}

/** Workgroups that keep a large GPU busy: with fewer, smaller tiles are faster. WebGPU does not say how many cores it has. */
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
  readonly #whole: readonly Division[];
  readonly #inParts: Division;
  readonly #shardRows: number;

  private constructor(product: Product, fewRows: Division[], whole: MatrixForm[], inParts: MatrixForm) {
    this.#shardRows = product.shardRows;
    this.#fewRows = fewRows;
    this.#whole = whole.map((form) => ({ form }));
    this.#inParts = { form: inParts, parts: partsByTiles(inParts, product) };
  }

  /** Undefined without matrix units, or with fragments for which the forms cannot be written. */
  static of(product: Product, caps: GpuCaps): Divisions | undefined {
    const many = formsOfManyRows(caps);
    if (!many) return undefined;
    return new Divisions(product, divisionsOfFewRows(product, caps), many.whole, many.inParts);
  }

  /** For so many rows of x. */
  at(rows: number): Division {
    const few = this.#fewRows.find(({ form }) => rows <= tileRows(form));
    if (few) return few;
    const whole = this.#whole.find(({ form }) => {
      const [across, down] = tilesOf(form, this.#shardRows, rows);
      return across * down >= ENOUGH_WORKGROUPS;
    });
    return whole ?? this.#inParts;
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

/**
 * Whole products, from the largest tile to the smallest: 4 x 4 fragments a subgroup where there are rows enough, for with
 * fewer, reading fragments takes longer than multiplying them. And the tile that is taken in parts.
 */
function formsOfManyRows(caps: GpuCaps): { whole: MatrixForm[]; inParts: MatrixForm } | undefined {
  const { matrixFragment, subgroupMaxSize } = caps;
  if (!matrixFragment) return undefined;
  const square = (subgroupsAcross: number, fragments: number, slices: number): MatrixForm => ({
    fragment: matrixFragment,
    swapped: false,
    lanes: subgroupMaxSize,
    subgroupsDown: 2,
    subgroupsAcross,
    subgroupsDeep: 1,
    fragmentsDown: fragments,
    fragmentsAcross: fragments,
    depth: Math.max(slices * matrixFragment.k, FEWEST_DEEP),
  });
  const whole = [square(4, 4, 2), square(2, 4, 2), square(2, 2, 4)];
  const served = whole.every((form) => HALVES_ALIGNMENT % form.depth === 0 && canBeWritten(form, caps));
  return served ? { whole, inParts: whole[2] } : undefined;
}

/**
 * Few rows are one tile, and reading the weight is what takes time: every workgroup has a deep piece of it on its way,
 * which its subgroups share by depth. From the fewest rows to the most.
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
    const shared = {
      fragment,
      swapped: narrow,
      lanes: caps.subgroupMaxSize,
      subgroupsDown: 1,
      fragmentsDown: fragments,
      depth: (deepest ? 16 : 8) * fragment.k,
    };
    const wide: MatrixForm = {
      ...shared,
      subgroupsAcross: fragments === 4 ? 2 : 1,
      subgroupsDeep: deepest ? 8 : 4,
      fragmentsAcross: 2,
    };
    const slim: MatrixForm = { ...shared, subgroupsAcross: 1, subgroupsDeep: 8, fragmentsAcross: 1 };
    if (!wholeDepths(8) || ![wide, slim].every((form) => canBeWritten(form, caps))) return [];
    return [divideFewRows(wide, slim, product)];
  });
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
