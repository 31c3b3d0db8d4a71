// Where other suites' packages come from: from the same place as the machine's own, in either notation.
import { deepStrictEqual } from "node:assert/strict";
import { entryForSuite } from "./debian.ts";

const DEB822 = `Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
`;
const CLASSIC = `# deb http://old.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian bookworm main contrib
`;

Deno.test("entryForSuite() keeps mirror and key, and takes the main archive of the release", () => {
  deepStrictEqual(entryForSuite("sid", "bookworm", DEB822, CLASSIC), {
    text: `Types: deb
URIs: http://mirror.example/debian
Suites: sid
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`,
    extension: "sources",
  });
  deepStrictEqual(entryForSuite("sid", "bookworm", "", CLASSIC), {
    text:
      "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian sid main\n",
    extension: "list",
  });
});

Deno.test("entryForSuite() finds nothing where only other releases or archives are named", () => {
  deepStrictEqual(entryForSuite("sid", "trixie", DEB822, CLASSIC), undefined);
  deepStrictEqual(entryForSuite("sid", "bookworm", DEB822.split("\n\n")[1], ""), undefined);
  deepStrictEqual(entryForSuite("sid", "", DEB822, CLASSIC), undefined);
});
