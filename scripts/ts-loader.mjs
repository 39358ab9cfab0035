// What `npm test` and `npm run chaos` run TypeScript with, in place of ts-node, which tap would use.
//
// That one loads the compiler twice for each file of the suite, and compiles anew whatever the file imports: half of what most of
// them had the processor do. Here a source is compiled once for all files and runs, until it changes. A file that is run by
// `npx tap` has ts-node. Neither looks at types: `npm run typecheck` does.

import { register } from 'node:module'

register('./ts-hooks.mjs', import.meta.url)
