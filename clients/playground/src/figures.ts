// Numbers as the page writes them: as many digits as one can compare at a glance.

/** "0.8 ms", "12 ms", "1.4 s". */
export function duration(ms: number): string {
  if (ms === 0) return "0 ms";
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms >= 10_000 ? 0 : 1)} s`;
  return `${ms.toFixed(ms >= 9.95 ? 0 : 1)} ms`;
}

/** "0.4", "12", "1.2 k". */
export function amount(value: number): string {
  if (value >= 9950) return `${(value / 1000).toFixed(0)} k`;
  if (value >= 1000) return `${(value / 1000).toFixed(1)} k`;
  return value === 0 || value >= 9.95 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
}

/** "97 %"; never 100 for what is less, nor 0 for what is more. */
export function percent(share: number): string {
  if (share > 0.99 && share < 1) return "> 99 %";
  if (share > 0 && share < 0.01) return "< 1 %";
  return `${(share * 100).toFixed(0)} %`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${amount(count)} ${count === 1 ? one : many}`;
}
