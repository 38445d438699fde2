/**
 * Reads certificate requests (PKCS #10) and signs them with the cluster's CA. Imported only when there is one:
 * @peculiar/x509 takes 70 ms to load.
 */
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { RequestedCertificate } from './signer-rules.ts';

/** Clocks differ: a certificate is valid a little before it was made. */
const backdateMs = 5 * 60_000;

const subjectAlternativeName = '2.5.29.17';

x509.cryptoProvider.set(webcrypto as never);

export interface Authority {
  readonly certificate: string;
  readonly key: string;
}

export interface CertificateRequest {
  readonly wanted: RequestedCertificate;
  /** False when it is not signed by the key that it brings. */
  isGenuine(): Promise<boolean>;
  /** PEM. */
  sign(authority: Authority, usages: readonly string[], lifetimeMs: number, nowMs: number): Promise<string>;
}

/** Throws when this is no certificate request. */
export function readRequest(pem: string): CertificateRequest {
  const request = new x509.Pkcs10CertificateRequest(pem);
  const extension = request.getExtension(subjectAlternativeName);
  const asked = extension ? new x509.SubjectAlternativeNameExtension(extension.rawData).names.items : [];
  // Names of other types are not carried over: no rule speaks of them.
  const names = asked.filter(({ type }) => ['dns', 'ip', 'email', 'url'].includes(type));
  const ofType = (type: x509.GeneralName['type']) =>
    names.filter((name) => name.type === type).map(({ value }) => value);
  const commonNames = request.subjectName.getField('CN');
  return {
    wanted: {
      // Of two, which one counts would depend on who reads.
      commonName: commonNames.length === 1 ? commonNames[0]! : '',
      organizations: request.subjectName.getField('O'),
      dnsNames: ofType('dns'),
      ipAddresses: ofType('ip'),
      emailAddresses: ofType('email'),
      uris: ofType('url'),
    },
    isGenuine: () => request.verify(),
    async sign(authority, usages, lifetimeMs, nowMs) {
      const issuer = new x509.X509Certificate(authority.certificate);
      const signingAlgorithm = keyAlgorithm(issuer);
      const key = await webcrypto.subtle.importKey('pkcs8', pemBytes(authority.key), signingAlgorithm, false, ['sign']);
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: serialNumber(),
        subject: request.subjectName.toJSON(),
        issuer: issuer.subjectName.toJSON(),
        notBefore: new Date(nowMs - backdateMs),
        notAfter: new Date(Math.min(nowMs + lifetimeMs, issuer.notAfter.getTime())),
        signingAlgorithm,
        publicKey: request.publicKey,
        signingKey: key as never,
        extensions: [
          // OpenSSL takes an empty one for a key that may do nothing.
          ...(keyUsages(usages) === 0 ? [] : [new x509.KeyUsagesExtension(keyUsages(usages), true)]),
          new x509.ExtendedKeyUsageExtension(purposes(usages)),
          new x509.BasicConstraintsExtension(false, undefined, true),
          await x509.AuthorityKeyIdentifierExtension.create(issuer),
          ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension([...names])]),
        ],
      });
      return `${certificate.toString('pem')}\n`;
    },
  };
}

interface KeyAlgorithm {
  readonly name: string;
  readonly hash: string;
  readonly namedCurve: string;
}

/** Of the CA's key: a CA of the user's own may be an RSA one, which has no curve. */
function keyAlgorithm(issuer: x509.X509Certificate): KeyAlgorithm {
  const { name, namedCurve = '' } = issuer.publicKey.algorithm as Partial<KeyAlgorithm> & { readonly name: string };
  return {
    name,
    namedCurve,
    hash: namedCurve === 'P-384' ? 'SHA-384' : namedCurve === 'P-521' ? 'SHA-512' : 'SHA-256',
  };
}

function keyUsages(usages: readonly string[]): number {
  const { digitalSignature, keyEncipherment } = x509.KeyUsageFlags;
  return (
    (usages.includes('digital signature') ? digitalSignature : 0) |
    (usages.includes('key encipherment') ? keyEncipherment : 0)
  );
}

function purposes(usages: readonly string[]): x509.ExtendedKeyUsage[] {
  const { clientAuth, serverAuth } = x509.ExtendedKeyUsage;
  return [
    ...(usages.includes('client auth') ? [clientAuth] : []),
    ...(usages.includes('server auth') ? [serverAuth] : []),
  ];
}

/** Positive, as RFC 5280 wants it. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function pemBytes(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
}
