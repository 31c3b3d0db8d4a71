// Files to begin with. Each has its cursor where a suggestion is of use.

export interface Sample {
  readonly name: string;
  readonly language: "python" | "javascript";
  /** Text before the cursor, and after it. */
  readonly before: string;
  readonly after: string;
}

export const SAMPLES: readonly Sample[] = [
  {
    name: "point.py",
    language: "python",
    before: `class Point:
    """A point in the plane."""

    def __init__(self, x, y):
        self.x = x
        `,
    after: `

    def __add__(self, other):
        return Point(self.x + other.x, self.y + other.y)

    def length(self):
        return (self.x ** 2 + self.y ** 2) ** 0.5

    def scale(self, factor):
        return Point(self.x * factor, self.y * factor)
`,
  },
  {
    name: "lru_cache.py",
    language: "python",
    before: `from collections import OrderedDict


class LRUCache:
    def __init__(self, capacity):
        self.capacity = capacity
        self.items = OrderedDict()

    def get(self, key):
        if key not in self.items:
            return None
        self.items.move_to_end(key)
        return self.items[key]

    def put(self, key, value):
        `,
    after: `
        self.items.move_to_end(key)
        if len(self.items) > self.capacity:
            self.items.popitem(last=False)
`,
  },
  {
    name: "settings.py",
    language: "python",
    before: `import json
import os


def load_settings(path):
    """Read settings from a JSON file; none where there is no file."""
    if not os.path.exists(path):
        return {}
    with open(path) as f:
        `,
    after: `


def save_settings(path, settings):
    with open(path, "w") as f:
        json.dump(settings, f, indent=2)
`,
  },
  {
    name: "stack.ts",
    language: "javascript",
    before: `export class Stack<T> {
  readonly #items: T[] = [];

  push(item: T) {
    this.#items.push(item);
  }

  pop(): T | undefined {
    `,
    after: `
  }

  get size() {
    return this.#items.length;
  }
}
`,
  },
  { name: "empty.py", language: "python", before: "", after: "" },
];
