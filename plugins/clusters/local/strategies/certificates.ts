/** CertificateSigningRequests: who asks is what the server knows, not what the request says. */
import type { CertificateSigningRequest } from '../../../../kernel/contract/kubernetes.ts';
import { sameJson } from '../state/frozen-json.ts';
import type { Strategy } from './strategy.ts';

export const certificateSigningRequest: Strategy<CertificateSigningRequest> = {
  nameRule: 'path',
  prepareCreate({ spec }, { user }) {
    delete spec.username;
    delete spec.uid;
    delete spec.groups;
    delete spec.extra;
    if (!user) return;
    spec.username = user.name;
    spec.groups = [...user.groups];
    if (user.uid) spec.uid = user.uid;
    if (user.extra)
      spec.extra = Object.fromEntries(Object.entries(user.extra).map(([key, values]) => [key, [...values]]));
  },
  validate({ spec }, errors) {
    if (!spec.signerName) errors.required('spec.signerName');
    if (spec.expirationSeconds !== undefined && spec.expirationSeconds < 600) {
      errors.invalid(
        'spec.expirationSeconds',
        spec.expirationSeconds,
        'may not specify a duration less than 600 seconds (10 minutes)',
      );
    }
  },
  validateUpdate({ spec }, { spec: old }, errors) {
    if (!sameJson(spec, old)) errors.invalid('spec', null, 'field is immutable');
  },
  fieldNames: ['spec.signerName'],
  field: ({ spec }) => spec.signerName,
};
