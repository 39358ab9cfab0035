import { execFileSync } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** The reason to skip a test that needs certificates, or false. */
export const noOpenssl: string | false = runs() ? false : 'openssl is missing'

function runs (): boolean {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** A certificate with its private key, as PEM texts and as files. */
export interface Certificate {
  readonly certificate: string
  /** PKCS#8. */
  readonly key: string
  readonly certificateFile: string
  readonly keyFile: string
}

/** A private key's PEM text, encrypted. */
export function encryptedKey ({ key }: Certificate, passphrase: string): string {
  return createPrivateKey(key).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase }).toString()
}

/** A certificate authority made for one test, and what it signs. Everything is in one folder. */
export class CertificateAuthority {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'sluice-certificates-'))
  readonly #own: Certificate
  #serial = 1

  constructor (name: string) {
    const { key, keyFile } = this.#key('ca')
    const certificateFile = path.join(this.folder, 'ca.pem')
    // The extensions are in a file of their own: what the machine's openssl.cnf adds by itself differs.
    const config = this.write('ca.cnf', '[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n' +
      '[ext]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n')
    const certificate = openssl('req', '-x509', '-new', '-config', config, '-key', keyFile, '-subj', `/CN=${name}`, '-days', '2', '-sha256')
    writeFileSync(certificateFile, certificate)
    this.#own = { certificate, key, certificateFile, keyFile }
  }

  get certificate (): string { return this.#own.certificate }
  get certificateFile (): string { return this.#own.certificateFile }

  /** Signs a certificate for servers and clients, with these subject alternative names: `DNS:localhost`, `IP:127.0.0.1`. */
  sign (name: string, alternativeNames: readonly string[] = []): Certificate {
    const { key, keyFile } = this.#key(name)
    const config = this.write(`${name}.cnf`, '[req]\ndistinguished_name=dn\n[dn]\n[ext]\nbasicConstraints=CA:FALSE\n' +
      'extendedKeyUsage=serverAuth,clientAuth\n' + (alternativeNames.length > 0 ? `subjectAltName=${alternativeNames.join(',')}\n` : ''))
    const request = this.write(`${name}.csr`, openssl('req', '-new', '-config', config, '-key', keyFile, '-subj', `/CN=${name}`, '-sha256'))
    const certificate = openssl('x509', '-req', '-in', request, '-CA', this.#own.certificateFile, '-CAkey', this.#own.keyFile,
      '-set_serial', String(++this.#serial), '-days', '2', '-sha256', '-extfile', config, '-extensions', 'ext')
    return { certificate, key, certificateFile: this.write(`${name}.pem`, certificate), keyFile }
  }

  /** Writes a PKCS#12 key store with the certificate, its key and this authority; returns its path. */
  keyStore ({ certificateFile, keyFile }: Certificate, password: string): string {
    const file = path.join(this.folder, `${path.basename(certificateFile, '.pem')}.p12`)
    openssl('pkcs12', '-export', '-in', certificateFile, '-inkey', keyFile, '-certfile', this.#own.certificateFile, '-out', file, '-passout', `pass:${password}`)
    return file
  }

  /** Writes a text file into this authority's folder; returns its path. */
  write (name: string, text: string): string {
    const file = path.join(this.folder, name)
    writeFileSync(file, text)
    return file
  }

  remove (): void {
    rmSync(this.folder, { recursive: true, force: true })
  }

  #key (name: string): { key: string, keyFile: string } {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    return { key, keyFile: this.write(`${name}.key`, key) }
  }
}

function openssl (...args: string[]): string {
  return execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' })
}
