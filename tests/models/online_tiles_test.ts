import { deepStrictEqual, equal, ok } from "node:assert/strict";
import { fillPoints, outputsWithin, tileAfter, tilePoints } from "../../models/online_tiles.ts";
import { Fourier } from "../../kernels/filters/fourier.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { relativeError } from "./long_conv_cases.ts";

/** Adds the tile's share to y; `at` is where index 0 of the tiles stands in u and y. */
type AddTile = (h: Float64Array, u: Float64Array, y: Float64Array, index: number, at: number) => void;

const addDirectly: AddTile = (h, u, y, index, at) => {
  const tile = tileAfter(index);
  for (let r = 0; r < outputsWithin(tile, y.length - at); r++) {
    for (let s = 0; s < tile.size; s++) {
      const lag = r + tile.size - s;
      if (lag < h.length) y[at + tile.firstOutput + r] += h[lag] * u[at + tile.firstInput + s];
    }
  }
};

const addByFourier: AddTile = (h, u, y, index, at) => {
  const tile = tileAfter(index), first = at + tile.firstInput;
  const product = cyclicConvolution(h, u.subarray(first, first + tile.size), tilePoints(tile));
  for (let r = 0; r < outputsWithin(tile, y.length - at); r++) {
    y[at + tile.firstOutput + r] += product[tile.size + r];
  }
};

/** Of the first `size` of a with the first `size` of b, both followed by zeros. */
function cyclicConvolution(a: Float64Array, b: Float64Array, size: number): Float64Array {
  const fourier = new Fourier(size),
    spectrum = (values: Float64Array) => {
      const z = { re: new Float64Array(size), im: new Float64Array(size) };
      z.re.set(values.subarray(0, size));
      fourier.transform(z);
      return z;
    };
  const x = spectrum(a), y = spectrum(b);
  for (let k = 0; k < size; k++) {
    [x.re[k], x.im[k]] = [x.re[k] * y.re[k] - x.im[k] * y.im[k], x.re[k] * y.im[k] + x.im[k] * y.re[k]];
  }
  fourier.transform({ re: x.im, im: x.re });
  return x.re.map((value) => value / size);
}

/** Outputs of a text whose first `prompt` inputs are known at once and all others only after the output before them. */
function online(h: Float64Array, u: Float64Array, prompt: number, addTile: AddTile): Float64Array {
  const y = new Float64Array(u.length);
  if (prompt > 0) {
    const points = fillPoints(prompt, u.length - prompt);
    const known = cyclicConvolution(h.subarray(0, u.length), u.subarray(0, prompt), points);
    y.set(known.subarray(prompt, u.length), prompt);
    y.set(direct(h, u.subarray(0, prompt)));
  }
  // What is not known yet must not be read.
  const seen = new Float64Array(u.length).fill(NaN);
  seen.set(u.subarray(0, prompt));
  for (let t = prompt; t < u.length; t++) {
    seen[t] = u[t];
    y[t] += h[0] * seen[t];
    addTile(h, seen, y, t - prompt, prompt);
  }
  return y;
}

function direct(h: Float64Array, u: Float64Array): Float64Array {
  return u.map((_, t) => {
    let sum = 0;
    for (let lag = 0; lag <= Math.min(t, h.length - 1); lag++) sum += h[lag] * u[t - lag];
    return sum;
  });
}

Deno.test("tileAfter() covers every pair of an input and a later output exactly once", () => {
  const length = 1000, ones = new Float64Array(length).fill(1);
  deepStrictEqual(online(ones, ones, 0, addDirectly), Float64Array.from({ length }, (_, t) => t + 1));
  const covered = new Uint8Array(length * length);
  for (let index = 0; index < length; index++) {
    const tile = tileAfter(index);
    for (let r = 0; r < outputsWithin(tile, length); r++) {
      for (let s = 0; s < tile.size; s++) covered[(tile.firstOutput + r) * length + tile.firstInput + s]++;
    }
  }
  ok(covered.every((count, at) => count === (at % length < Math.floor(at / length) ? 1 : 0)));
});

Deno.test("tileAfter() has sizes by the powers of two in the next index", () => {
  deepStrictEqual([0, 1, 2, 3, 4, 5, 6, 7].map((index) => tileAfter(index).size), [1, 2, 1, 4, 1, 2, 1, 8]);
  deepStrictEqual(tileAfter(11), { size: 4, firstInput: 8, firstOutput: 12 });
  equal(tileAfter(2 ** 33 - 1).size, 2 ** 33);
  equal(outputsWithin(tileAfter(7), 12), 4);
  equal(outputsWithin(tileAfter(7), 8), 0);
});

for (const [name, addTile] of [["direct sums", addDirectly], ["Fourier transforms", addByFourier]] as const) {
  Deno.test(`tiles by ${name} are the direct convolution, after prompts of every kind`, () => {
    const random = new Random(testSeed());
    for (
      const [prompt, length, numTaps] of [
        [0, 100, 100],
        [1, 100, 128],
        [7, 61, 61],
        [57, 256, 300],
        [64, 163, 163],
        [99, 100, 100],
        [10, 200, 33],
      ]
    ) {
      const h = Float64Array.from(random.normals(numTaps)), u = Float64Array.from(random.normals(length));
      const error = relativeError(online(h, u, prompt, addTile), direct(h, u));
      ok(error < 1e-12, `${prompt} of ${length} tokens, ${numTaps} taps: off by ${error}`);
    }
  });
}

Deno.test("inputs and outputs may share one array, bit for bit", () => {
  const random = new Random(testSeed()), length = 300;
  const h = Float64Array.from(random.normals(length)), u = Float64Array.from(random.normals(length));
  const shared = new Float64Array(length), outputs = new Float64Array(length);
  for (let t = 0; t < length; t++) {
    outputs[t] = shared[t] + h[0] * u[t];
    shared[t] = u[t];
    addDirectly(h, shared, shared, t, 0);
  }
  deepStrictEqual(outputs, online(h, u, 0, addDirectly));
});
