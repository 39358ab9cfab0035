export const oneSignalMs: number
export function forwardSignals (child: { kill (signal: string): unknown }, from?: NodeJS.EventEmitter, now?: () => number): void
export function exitCode (code: number | null, signal: string | null): number
