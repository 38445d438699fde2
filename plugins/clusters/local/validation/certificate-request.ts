/**
 * What the door must know of a certificate request (PKCS #10). Imported only when one comes: @peculiar/x509 takes 70 ms to
 * load.
 */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto as never);

export type CheckedRequest = { readonly fault: string } | { readonly organizations: readonly string[] };

/** `base64`: of PEM. */
export async function checkRequest(base64: string): Promise<CheckedRequest> {
  const text = Buffer.from(base64, 'base64').toString('latin1');
  const block = /-----BEGIN ([^-\n]*)-----([^-]*)-----END \1-----/.exec(text);
  // The first block counts, and a "NEW CERTIFICATE REQUEST" is none, as in Kubernetes.
  if (block?.[1] !== 'CERTIFICATE REQUEST') return { fault: 'PEM block type must be CERTIFICATE REQUEST' };
  try {
    const request = new x509.Pkcs10CertificateRequest(Buffer.from(block[2] ?? '', 'base64'));
    if (await request.verify()) return { organizations: request.subjectName.getField('O') };
    return { fault: `x509: ${request.publicKey.algorithm.name} verification failure` };
  } catch (error) {
    return { fault: `x509: ${error instanceof Error ? error.message : String(error)}` };
  }
}
