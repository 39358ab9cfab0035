// Reads what tap prints, so that the suite can say how many tests ran, and which files ran none against a real broker.

/** Whether a test file uses a real Kafka: by its folder, or because it imports the harness. */
export function needsKafka (file, text) {
  return /^test[/\\]integration[/\\]/.test(file) || /^[^'"]* from ['"][^'"]*support\/kafka(\.js)?['"]/m.test(text)
}

/**
 * Counts the assertions in a TAP stream, in all and by test file.
 *
 * The line that closes a subtest is not counted, unless it is the only word about a failure (a file that crashed). A
 * skipped or todo one counts as skipped.
 */
export class TapCounts {
  passed = 0
  failed = 0
  skipped = 0
  /** By file: how many assertions ran, passed or not. */
  ran = new Map()
  #rest = ''
  // The indentations of the subtests that are open, with their names and whether something in them failed already.
  #open = []

  write (text) {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop()
    for (const line of lines) this.#line(line)
  }

  end () {
    if (this.#rest !== '') this.#line(this.#rest)
    this.#rest = ''
  }

  #line (line) {
    const comment = /^( *)# Subtest: (.*?)\s*$/.exec(line)
    if (comment) return this.#open.push({ depth: comment[1].length, name: comment[2], failures: this.failed })
    // The end of a buffered subtest, whose point came first: `ok 1 - name {` … `}`
    const brace = /^( *)}\s*$/.exec(line)
    const top = this.#open.at(-1)
    if (brace) {
      if (top?.buffered && top.depth === brace[1].length) {
        this.#open.pop()
        if (top.notOk && top.failures === this.failed) this.#count(true, false)
      }
      return
    }
    const point = /^( *)(not )?ok\b(.*)$/.exec(line)
    if (!point) return
    const [, { length: depth }, not, text] = point
    const directive = /\s#\s*(skip|todo)\b/i.test(text)
    // Only such a point has its time before the brace: a brace alone may be the end of an assertion's own words.
    if (/ # time=[\d.]+ms \{\s*$/.test(text)) {
      const name = text.replace(/^\s*\d*\s*-?\s*/, '').replace(/\s+# time=.*$|\s*\{\s*$/, '')
      return this.#open.push({ depth, name, failures: this.failed, buffered: true, notOk: not !== undefined && !directive })
    }
    if (top && !top.buffered && top.depth === depth) {
      this.#open.pop()
      if (not && !directive && top.failures === this.failed) this.#count(true, false)
      return
    }
    this.#count(not !== undefined, directive)
  }

  #count (failed, skipped) {
    if (skipped) {
      this.skipped++
      return
    }
    if (failed) this.failed++
    else this.passed++
    const file = this.#open.find(({ depth }) => depth === 0)?.name
    if (file !== undefined) this.ran.set(file, (this.ran.get(file) ?? 0) + 1)
  }
}

/** The last line: in a form that a person and a machine can read. A run that tap calls failed has at least one failure. */
export function closingLine ({ passed, failed, skipped }, code) {
  const bad = code === 0 ? failed : Math.max(failed, 1)
  return `${passed} passed, ${bad} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

/**
 * What is to be said at the end, and whether the run is good.
 *
 * A run in CI of the whole suite is good only if every file that needs a real broker ran something against it.
 *
 * @param {object} run
 * @param {boolean} run.all whether the whole suite was asked for
 * @param {boolean} run.filtered whether options may have left out tests
 * @param {string[]} run.real the selected files that use a real broker
 * @param {string} [run.reason] why there is no real broker
 */
export function verdict ({ ci, all, filtered, code, counts, real, reason, buildFailure }) {
  const lines = []
  let ok = code === 0
  if (buildFailure) {
    lines.push('FAILED: the sources do not build, see above.')
    ok = false
  }
  const idle = filtered ? [] : real.filter(file => !counts.ran.has(file))
  if (real.length > 0 && reason) {
    lines.push(`The real-broker tests were SKIPPED: ${reason}.`,
      'They need one of: KAFKA_BOOTSTRAP_SERVERS, a Docker engine, or a JDK (17 or later) with Maven.')
  } else if (idle.length > 0) {
    lines.push(`These real-broker tests did NOT run: ${idle.join(', ')}.`)
  }
  if (ci && ((real.length > 0 && reason) || idle.length > 0)) {
    lines.push('FAILED: in CI (CI=true) the real-broker tests must run.')
    ok = false
  }
  if (ci && all && !filtered && !real.some(file => /integration/.test(file))) {
    lines.push('FAILED: in CI (CI=true) there must be integration tests, and none was found.')
    ok = false
  }
  if (counts.passed + counts.failed === 0) {
    lines.push('FAILED: no test ran.')
    ok = false
  }
  return { lines, ok }
}
