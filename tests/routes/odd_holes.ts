// Places in files that editors make and servers trip over, and what may be written there.
import type { Hole } from "./dialect_bodies.ts";

export interface OddHole extends Hole {
  /** To be inserted at the cursor. */
  readonly text: string;
}

export const ODD_HOLES: Readonly<Record<string, OddHole>> = {
  "an empty prefix": {
    prefix: "",
    suffix: "\n\nprint(add(1, 2))\n",
    text: "def add(a, b):\n    return a + b",
  },
  "an empty file": { prefix: "", suffix: "", text: "import os\n" },
  "a line of 5,000 characters": {
    prefix: `total = ${"value_of_item + ".repeat(313)}`,
    suffix: "\n",
    text: "last_item",
  },
  "emoji and CJK at the cursor": {
    prefix: 'names = ["漢字", "🙂',
    suffix: '👍🏽", "かな"]\n',
    text: '🙃", "名前", "',
  },
  "half a character's worth of emoji": { prefix: 'flag = "🏳️‍🌈', suffix: '"\n', text: "👨‍👩‍👧" },
  "CRLF": {
    prefix: "def add(a, b):\r\n    return ",
    suffix: "\r\n\r\nprint(add(1, 2))\r\n",
    text: "a + b\r\n\r\n\r\ndef twice(a):\r\n    return add(a, a)",
  },
  "tabs": {
    prefix: "def add(a, b):\n\tif a:\n\t\treturn ",
    suffix: "\n\treturn b\n",
    text: "a\n\telse:\n\t\tb = 0\t# none",
  },
  "a suffix of )": { prefix: "def f(x):\n    print(len(x", suffix: ")", text: "), 2" },
  "control tokens as text": {
    prefix: 'token = "<fim_middle>',
    suffix: '<|endoftext|>"\n',
    text: '<fim_prefix>" + "',
  },
  "what other formats take for line breaks, or for their own": {
    prefix: "a\u2028b\u2029c\u0085d\v\f\0 'data: [DONE]' ",
    suffix: '\n\ndata: {"x": "\\n\\u0000"}\n\n',
    text: '\u2028\u2029\u0085\v\f\0"\\n\n\ndata: [DONE]\n\n: x\n',
  },
};
