import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import {
  addon, addonKey, cacheDir, installedAsLocked, manualMessage, missingPackages, neededPackages, planPackages, sourcesDigest,
  whyBuild, whyInstall
} from '../../scripts/lib-setup.mjs'

const lock = { packages: { '': {}, 'node_modules/a': { version: '1.0.0' }, 'node_modules/other-os': { version: '2.0.0', optional: true } } }
const same = { packages: { 'node_modules/a': { version: '1.0.0' } } }
const older = { packages: { 'node_modules/a': { version: '0.9.0' } } }

t.test('what npm installed counts if every package is there in its version, but for optional ones', async t => {
  t.equal(installedAsLocked(lock, same), true)
  t.equal(installedAsLocked(lock, older), false)
  t.equal(installedAsLocked(lock, { packages: {} }), false)
})

t.test('an install happens when something is missing or changed, and only then', async t => {
  t.match(whyInstall({ digest: 'x', lock }), /missing/)
  t.equal(whyInstall({ digest: 'x', stamp: 'x', lock, installed: same }), null)
  t.match(whyInstall({ digest: 'x', stamp: 'y', lock, installed: older }), /has changed/)
  t.match(whyInstall({ digest: 'x', lock, installed: older }), /is not what/)
  t.equal(whyInstall({ digest: 'x', lock, installed: same }), null, 'an npm ci by hand is as good')
})

t.test('a build happens when dist is missing or its sources changed, and only then', async t => {
  t.match(whyBuild({ digest: 'x', stamp: 'x', entryExists: false }), /missing/)
  t.match(whyBuild({ digest: 'x', entryExists: true }), /not known/)
  t.match(whyBuild({ digest: 'x', stamp: 'y', entryExists: true }), /newer/)
  t.equal(whyBuild({ digest: 'x', stamp: 'x', entryExists: true }), null)
})

t.test('the digest of the sources changes with a text, a new file and a deleted one', async t => {
  const root = t.testdir({
    src: { 'a.ts': '1' }, plugins: {}, routes: { 'page.html': '' }, 'tsconfig.json': '', 'tsconfig.build.json': '', 'package-lock.json': ''
  })
  const first = sourcesDigest(root)
  t.equal(sourcesDigest(root), first)
  writeFileSync(path.join(root, 'src', 'a.ts'), '2')
  t.not(sourcesDigest(root), first)
  writeFileSync(path.join(root, 'src', 'a.ts'), '1')
  mkdirSync(path.join(root, 'plugins', 'deep'))
  writeFileSync(path.join(root, 'plugins', 'deep', 'b.ts'), '')
  t.not(sourcesDigest(root), first)
  rmSync(path.join(root, 'plugins', 'deep'), { recursive: true })
  t.equal(sourcesDigest(root), first)
})

t.test('a built addon is kept apart for each version, Node ABI, system, libc and processor', async t => {
  t.equal(addonKey({ version: '1.10.1', abi: '115', platform: 'linux', libc: 'glibc', arch: 'x64' }),
    'kafka-javascript-1.10.1-node-v115-linux-glibc-x64')
  t.equal(cacheDir({ XDG_CACHE_HOME: '/c' }), path.join('/c', 'sluice'))
})

t.test('only packages that dpkg does not show as installed are asked for', async t => {
  const dpkg = 'libssl-dev installed\nliblz4-dev config-files\n'
  t.strictSame(missingPackages(['libssl-dev', 'liblz4-dev', 'zlib1g-dev'], dpkg), ['liblz4-dev', 'zlib1g-dev'])
  t.notOk(neededPackages(() => true).includes('make'), 'a tool that is on the path needs no package')
  t.ok(neededPackages(() => false).includes('g++'))
})

t.test('packages are installed by root or a sudo that does not ask, else the commands are shown', async t => {
  const missing = ['libssl-dev']
  t.strictSame(planPackages({ missing: [], hasApt: false, root: false, sudo: false }), { kind: 'nothing' })
  t.match(planPackages({ missing, hasApt: true, root: true, sudo: false }), { kind: 'apt', commands: [['apt-get', 'update'], ['apt-get']] })
  t.match(planPackages({ missing, hasApt: true, root: false, sudo: true }), { kind: 'apt', commands: [['sudo', '-n', 'apt-get'], ['sudo']] })
  t.match(planPackages({ missing, hasApt: true, root: false, sudo: false }),
    { kind: 'manual', commands: ['sudo apt-get update', /^sudo apt-get install .*libssl-dev$/] })
})

t.test('who must install by hand is told the commands for the system at hand', async t => {
  const why = 'a.test cannot be reached'
  const debian = manualMessage({ platform: 'linux', hasApt: true, why, commands: ['sudo apt-get install libssl-dev'] })
  t.match(debian, /a\.test cannot be reached/)
  t.match(debian, /^ {4}sudo apt-get install libssl-dev$/m)
  t.match(debian, /^ {4}npm run setup$/m)
  t.match(manualMessage({ platform: 'linux', hasApt: false, why, commands: [] }), /CKJS_LINKING=dynamic npm ci/)
  t.match(manualMessage({ platform: 'darwin', hasApt: false, why, commands: [] }), /xcode-select --install/)
})

t.test('the addon is the only required dependency with an install script: npm ci runs without scripts', async t => {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, { hasInstallScript?: boolean, optional?: boolean }>
  }
  const scripted = Object.entries(packages).filter(([, entry]) => entry.hasInstallScript && !entry.optional).map(([name]) => name)
  t.strictSame(scripted, [`node_modules/${addon}`])
})
