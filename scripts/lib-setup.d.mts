interface Lock { packages: Record<string, { version?: string, optional?: boolean, hasInstallScript?: boolean }> }

export const addon: string
export function cacheDir (env?: NodeJS.ProcessEnv): string
export function sha256 (...parts: Array<string | Uint8Array>): string
export function installedAsLocked (lock: Lock, installed: Lock): boolean
export function whyInstall (state: { digest: string, stamp?: string | undefined, lock: Lock, installed?: Lock | undefined }): string | null
export function whyBuild (state: { digest: string, stamp?: string | undefined, entryExists: boolean }): string | null
export function sourcesDigest (root: string): string
export function addonKey (addon: { version: string, abi: string, platform: string, libc: string, arch: string }): string
export function neededPackages (hasTool: (name: string) => boolean): string[]
export function missingPackages (wanted: string[], dpkgOutput: string): string[]
export function planPackages (machine: { missing: string[], hasApt: boolean, root: boolean, sudo: boolean }):
  { kind: 'nothing' } | { kind: 'apt', commands: string[][] } | { kind: 'manual', commands: string[] }
export function manualMessage (machine: { platform: string, hasApt: boolean, why: string, commands: string[] }): string
