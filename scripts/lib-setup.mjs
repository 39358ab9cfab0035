// What scripts/setup.mjs decides, apart from what it does, so that the decisions can be tested without doing them.

import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'

export const addon = '@confluentinc/kafka-javascript'

/** Where things are kept that are the same for every checkout on this machine: the built addon, Kafka's jars. */
export function cacheDir (env = process.env) {
  return path.join(env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'sluice')
}

export function sha256 (...parts) {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('hex')
}

/**
 * Whether npm's own record of what it installed (node_modules/.package-lock.json) is what package-lock.json asks for.
 * It makes an `npm ci` by hand count, and an `npm ci --omit=dev` not.
 */
export function installedAsLocked (lock, installed) {
  return Object.entries(lock.packages).every(([where, wanted]) => {
    if (where === '') return true
    const found = installed.packages[where]
    return found === undefined ? wanted.optional === true : found.version === wanted.version
  })
}

/**
 * Why node_modules must be installed, or null if it need not.
 *
 * @param {{ digest: string, stamp?: string, lock: object, installed?: object }} state the digest is of package-lock.json and
 *   of what the addon's binary depends on; the stamp is the digest of the last install that succeeded; `installed` is npm's record
 */
export function whyInstall ({ digest, stamp, lock, installed }) {
  if (installed === undefined) return 'node_modules is missing'
  if (stamp === digest) return null
  if (installedAsLocked(lock, installed)) return null
  return stamp === undefined ? 'node_modules is not what package-lock.json says' : 'package-lock.json has changed'
}

/** Why dist must be built, or null if it need not. The stamp is the digest of the sources that dist was built from. */
export function whyBuild ({ digest, stamp, entryExists }) {
  if (!entryExists) return 'dist/src/server.js is missing'
  if (stamp === undefined) return 'it is not known which sources dist was built from'
  return stamp === digest ? null : 'the sources are newer'
}

/** The digest of everything that the build reads: names and contents, so that a deleted file counts too. */
export function sourcesDigest (root) {
  const files = ['tsconfig.json', 'tsconfig.build.json', 'package-lock.json']
  for (const folder of ['src', 'plugins', 'routes'].filter(name => existsSync(path.join(root, name)))) {
    for (const name of readdirSync(path.join(root, folder), { recursive: true })) {
      if (name.endsWith('.ts')) files.push(path.join(folder, name))
    }
  }
  return sha256(...files.sort().flatMap(file => [file, readFileSync(path.join(root, file))]))
}

/** The name of a built addon in the cache: what it was built from and for. */
export function addonKey ({ version, abi, platform, libc, arch }) {
  return `kafka-javascript-${version}-node-v${abi}-${platform}-${libc}-${arch}`
}

const libraries = ['libcurl4-openssl-dev', 'libssl-dev', 'zlib1g-dev', 'libzstd-dev', 'liblz4-dev', 'libsasl2-dev']
const tools = { 'g++': 'g++', make: 'make', python3: 'python3' }

/** The Debian packages that a build of the addon needs: libraries to link with, tools unless they are on the path already. */
export function neededPackages (hasTool) {
  return [...libraries, ...Object.keys(tools).filter(tool => !hasTool(tool)).map(tool => tools[tool])]
}

/** Which of `wanted` the output of `dpkg-query -W -f '${Package} ${db:Status-Status}\n'` does not show as installed. */
export function missingPackages (wanted, dpkgOutput) {
  const installed = new Set(dpkgOutput.split('\n').filter(line => line.endsWith(' installed')).map(line => line.split(' ')[0]))
  return wanted.filter(name => !installed.has(name))
}

/**
 * How Debian packages can be installed here.
 *
 * @returns {{ kind: 'nothing' } | { kind: 'apt', commands: string[][] } | { kind: 'manual', commands: string[] }} `manual` means
 *   that this script must not or cannot; the commands are then for the reader
 */
export function planPackages ({ missing, hasApt, root, sudo }) {
  if (missing.length === 0) return { kind: 'nothing' }
  const commands = [['apt-get', 'update'], ['apt-get', 'install', '-y', '--no-install-recommends', ...missing]]
  if (hasApt && root) return { kind: 'apt', commands }
  if (hasApt && sudo) return { kind: 'apt', commands: commands.map(command => ['sudo', '-n', ...command]) }
  return { kind: 'manual', commands: commands.map(command => `sudo ${command.join(' ')}`) }
}

/** What to tell somebody whose machine can neither download the addon nor get by itself what a build needs. */
export function manualMessage ({ platform, hasApt, why, commands }) {
  const head = `The native part of ${addon} is neither downloadable here (${why}) nor can this script install what a build needs`
  if (platform === 'linux' && hasApt) {
    return `${head}: it is not root, and sudo wants a password. Run\n\n` +
      [...commands, 'npm run setup'].map(line => `    ${line}`).join('\n') + '\n'
  }
  const what = platform === 'linux'
    ? 'a C++ compiler, make, Python 3 and the development files of curl, OpenSSL, zlib, zstd, lz4 and Cyrus SASL'
    : platform === 'darwin'
      ? 'Xcode\'s command line tools (xcode-select --install) and, by Homebrew, openssl@3 zstd lz4 curl cyrus-sasl'
      : 'what its README lists for building'
  return `${head}: it knows only apt-get. Install ${what}, then run\n\n    CKJS_LINKING=dynamic npm ci\n`
}
