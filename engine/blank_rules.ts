// Rules about what is not seen: blanks at a completion's end, and what ends its lines.
import type { OutputStage } from "./output_stage.ts";

/** Cuts blanks and line breaks from the end. */
export class TrailingBlanks implements OutputStage {
  readonly rule = "trim_blanks";
  readonly ended = false;
  acted = false;
  #held = "";

  push(piece: string): string {
    const text = this.#held + piece;
    const end = text.trimEnd().length;
    this.#held = text.slice(end);
    return text.slice(0, end);
  }

  flush(): string {
    this.acted ||= this.#held !== "";
    this.#held = "";
    return "";
  }
}

/** Ends every line with CRLF, whichever way the model did. */
export class CrlfBreaks implements OutputStage {
  readonly rule = "keep_crlf";
  readonly ended = false;
  acted = false;
  /** A CR whose LF may yet come. */
  #held = "";

  push(piece: string): string {
    const text = this.#held + piece;
    this.#held = text.endsWith("\r") ? "\r" : "";
    const certain = text.slice(0, text.length - this.#held.length);
    this.acted ||= certain.includes("\n");
    return certain.replace(/\r?\n/g, "\r\n");
  }

  /** A CR at the end is half a line break, of which a stop string took the other. */
  flush(): string {
    this.#held = "";
    return "";
  }
}
