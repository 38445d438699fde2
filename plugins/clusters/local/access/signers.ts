/** Who may act for a certificate signer: the verb on `signers`, of this one or of all of its domain. */
import type { UserInfo } from '../../../../kernel/contract/index.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { forbidden } from '../api-errors.ts';
import type { Authorizer } from './authorizer.ts';

export function checkSigner(
  verb: 'approve' | 'sign',
  request: { readonly name: string; readonly signerName: string },
  access: Authorizer | undefined,
  user: UserInfo | undefined,
): void {
  if (access === undefined || user === undefined) return;
  const { name, signerName } = request;
  const may = (signer: string) =>
    access.authorize(user, { verb, group: 'certificates.k8s.io', resource: 'signers', name: signer }).allowed;
  if (may(signerName) || may(`${signerName.split('/')[0]}/*`)) return;
  const message = `user not permitted to ${verb} requests with signerName ${JSON.stringify(signerName)}`;
  throw forbidden(resources.certificateSigningRequests, name, message);
}
