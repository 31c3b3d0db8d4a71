// Writes the transforms of the columns of a long convolution's three passes: real ones of few points, packed as complex
// ones of half as many (even rows real, odd rows imaginary).
import { CodeWriter, dft, powers, rootLiteral } from "./dft_code.ts";

/** WGSL for columns.wgsl: from `sample` to `rows`, frequencies 0 to points / 2, each times 2 and turned. */
export function columnCode(points: number, rowPoints: number): string {
  const half = points / 2, writer = new CodeWriter("c");
  const packed = Array.from({ length: half }, (_, j) => {
    if (2 * j >= half) return undefined;
    const [even, odd] = [2 * j, 2 * j + 1].map((row) =>
      `sample(first, column + ${row * rowPoints}u, length)`
    );
    return writer.name(`vec2<f32>(${even}, ${odd})`);
  });
  const z = dft(writer, packed, "forward");
  const turns = powers(writer, writer.name("turns[column]"), half + 1);
  for (let k = 0; k <= half; k++) {
    const a = z[k % half], b = writer.name(`conj(${z[(half - k) % half]})`);
    const doubled = writer.name(
      `${a} + ${b} + times(${a} - ${b}, ${rootLiteral(k + points / 4, points, "forward")})`,
    );
    const turned = k > 0 ? `times(${doubled}, ${turns[k]})` : doubled;
    writer.line(`rows[at + ${k * rowPoints}u] = ${turned};`);
  }
  return writer.toString();
}

/** WGSL for inverse_columns.wgsl: from `rows` to `signal`, without a factor. */
export function inverseColumnCode(points: number, rowPoints: number): string {
  const half = points / 2, writer = new CodeWriter("c");
  const turns = powers(writer, writer.name("conj(turns[column])"), half + 1);
  const v = Array.from({ length: half + 1 }, (_, k) => {
    const stored = `rows[at + ${k * rowPoints}u]`;
    return writer.name(k > 0 ? `times(${stored}, ${turns[k]})` : stored);
  });
  const packed = Array.from({ length: half }, (_, k) => {
    const mirror = writer.name(`conj(${v[half - k]})`);
    return writer.name(
      `${v[k]} + ${mirror} + times(${v[k]} - ${mirror}, ${rootLiteral(k + points / 4, points, "inverse")})`,
    );
  });
  const z = dft(writer, packed, "inverse");
  for (let j = 0; 2 * j < half; j++) {
    [".x", ".y"].forEach((part, i) => {
      const token = writer.name(`column + ${(2 * j + i) * rowPoints}u`);
      writer.line(`if (${token} < length) { signal[first + ${token}] = ${z[j]}${part}; }`);
    });
  }
  return writer.toString();
}
