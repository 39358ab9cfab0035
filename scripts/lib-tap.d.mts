export interface Counts { passed: number, failed: number, skipped: number, ran: Map<string, number> }
export class TapCounts implements Counts {
  passed: number
  failed: number
  skipped: number
  ran: Map<string, number>
  write (text: string): void
  end (): void
}
export function needsKafka (file: string, text: string): boolean
export function closingLine (counts: Counts, code: number): string
export function verdict (run: {
  ci: boolean, all: boolean, filtered: boolean, code: number, counts: Counts, real: string[]
  reason?: string | undefined, buildFailure?: string | undefined
}): { lines: string[], ok: boolean }
