// Who is next where several want what there is of a step: start-time fair queueing over tokens, between API keys, and
// within a key between its sessions (Goyal, Vin, Cheng: "Start-time Fair Queueing", 1997). Pure: its only clock is what
// was given out.

/** Whose work a sequence is. */
export interface Flow {
  readonly key: string;
  readonly session: string;
}

/** Tokens that each of those who want some was given. Who wants nothing is forgotten: idleness earns no credit. */
class Shares {
  readonly #tokens = new Map<string, number>();

  /** Newcomers start level with the one who was given least, so nobody waits for what others had before. */
  contend(names: ReadonlySet<string>) {
    for (const name of this.#tokens.keys()) if (!names.has(name)) this.#tokens.delete(name);
    const least = this.#tokens.size > 0 ? Math.min(...this.#tokens.values()) : 0;
    for (const name of names) if (!this.#tokens.has(name)) this.#tokens.set(name, least);
  }

  charge(name: string, tokens: number) {
    this.#tokens.set(name, this.tokensOf(name) + tokens);
  }

  tokensOf(name: string): number {
    return this.#tokens.get(name) ?? 0;
  }
}

export class FairShare {
  readonly #keys = new Shares();
  readonly #sessions = new Map<string, Shares>();

  /** Names all who want something of the next step. */
  contend(flows: readonly Flow[]) {
    const byKey = Map.groupBy(flows, ({ key }) => key);
    this.#keys.contend(new Set(byKey.keys()));
    for (const key of this.#sessions.keys()) if (!byKey.has(key)) this.#sessions.delete(key);
    for (const [key, flows] of byKey) {
      const shares = this.#sessions.get(key) ?? new Shares();
      this.#sessions.set(key, shares);
      shares.contend(new Set(flows.map(({ session }) => session)));
    }
  }

  /** Tokens that a flow was given. */
  charge({ key, session }: Flow, tokens: number) {
    this.#keys.charge(key, tokens);
    this.#sessions.get(key)?.charge(session, tokens);
  }

  /** Negative when `a` comes before `b`: its key was given less, or else its session was. */
  compare(a: Flow, b: Flow): number {
    if (a.key !== b.key) return this.#keys.tokensOf(a.key) - this.#keys.tokensOf(b.key);
    const shares = this.#sessions.get(a.key);
    return (shares?.tokensOf(a.session) ?? 0) - (shares?.tokensOf(b.session) ?? 0);
  }
}
