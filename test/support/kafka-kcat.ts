import { spawn, spawnSync } from 'node:child_process'

/** The reason to skip a test that needs kcat, or false. */
export const noKcat: string | false = spawnSync('kcat', ['-V'], { stdio: 'ignore' }).error === undefined
  ? false
  : 'kcat is not installed (Debian: apt-get install kcat)'

/** A record as kcat's JSON shows it: text only, and an empty key or value looks like text of length 0, a null one is null. */
export interface KcatRecord {
  topic: string
  partition: number
  offset: number
  ts: number
  headers?: string[]
  key: string | null
  payload: string | null
}

/**
 * Runs kcat to its end and resolves to what it printed.
 *
 * Whatever has not ended after `timeoutMs` (20 s) is killed.
 *
 * @throws {Error} with what kcat said, if its exit code is not 0
 */
export function kcat (args: string[], { input = '', timeoutMs = 20_000 }: { input?: string, timeoutMs?: number } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('kcat', args, { timeout: timeoutMs, killSignal: 'SIGKILL' })
    const out: Buffer[] = []
    let said = ''
    child.stdout.on('data', (data: Buffer) => out.push(data))
    child.stderr.on('data', data => { said += data })
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code === 0) resolve(Buffer.concat(out).toString())
      else reject(new Error(`kcat ${args.join(' ')}: ${signal ? `ended by ${signal}` : `exit code ${code}`}: ${said.trim()}`))
    })
  })
}
