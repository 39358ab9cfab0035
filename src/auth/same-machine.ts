import { isIP } from 'node:net'

/** How many Host values that were found good are remembered. */
const rememberedHosts = 1_000

/** Whether a Host header names this machine. Remembers the values that do: parsing takes longer than a look-up. */
export function hostCheck (own: string, allowed: ReadonlySet<string>): (host: string) => boolean {
  const good = new Set<string>()
  return host => {
    if (good.has(host)) return true
    const name = hostName(host)
    if (name === null) return false
    const isGood = name === 'localhost' || name.endsWith('.localhost') || isIP(name) !== 0 || name === own || allowed.has(name)
    if (isGood) {
      if (good.size >= rememberedHosts) good.clear()
      good.add(host)
    }
    return isGood
  }
}

export interface AllowedPages {
  /** Host names, whatever the scheme and the port. */
  readonly hosts: ReadonlySet<string>
  /** Whole origins. */
  readonly origins: ReadonlySet<string>
}

/** What a browser says of the page that a request comes from, and which host it is for. */
export interface FromPage {
  readonly origin: string | undefined
  readonly site: string | string[] | undefined
  readonly host: string | undefined
}

/** Whether a request comes from a web page that is neither of this host nor of one that somebody allowed. */
export function isForeignPage ({ origin, site, host }: FromPage, allowed: AllowedPages): boolean {
  return origin === undefined ? site === 'cross-site' : !isAllowedOrigin(origin, host, allowed)
}

/** A browser sends its page's own origin: the same host and port as here, or one that somebody allowed. */
function isAllowedOrigin (origin: string, host: string | undefined, { hosts, origins }: AllowedPages): boolean {
  if (origins.has(origin)) return true
  const match = /^https?:\/\/([^/?#@]+)$/i.exec(origin)
  if (match === null) return false
  const authority = match[1] as string
  if (host !== undefined && authority.toLowerCase() === host.toLowerCase()) return true
  const name = hostName(authority)
  return name !== null && hosts.has(name)
}

/** The name in `name`, `name:port` or `[IPv6]:port`, in lower case and without a dot at its end. `null`: it is none of them. */
function hostName (authority: string): string | null {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]/@\s]+?)\.?)(?::\d{1,5})?$/i.exec(authority)
  return match === null ? null : (match[1] ?? match[2] as string).toLowerCase()
}
