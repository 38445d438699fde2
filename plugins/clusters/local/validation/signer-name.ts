/** Names of certificate signers: `example.com/signer`, and for a domain all of its signers: `example.com/*`. */
import type { FieldErrors } from './field-errors.ts';
import { labelFaults, subdomainFaults } from './names.ts';

export function validateSignerName(field: string, name: string, errors: FieldErrors): void {
  if (!name) {
    errors.required(field);
    return;
  }
  const segments = name.split('/');
  if (segments.length !== 2) {
    errors.invalid(field, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
    return;
  }
  const [domain = '', path = ''] = segments;
  if (domain.length > 253) errors.tooLong(field, 253);
  const labels = domain.split('.');
  firstFaults(field, domain, labels, labelFaults, errors);
  if (labels.length < 2)
    errors.invalid(field, domain, 'should be a domain with at least two segments separated by dots');
  firstFaults(field, path, path.split('.'), subdomainFaults, errors);
}

/** Of the first part that is wrong: the others would say the same. */
function firstFaults(
  field: string,
  value: string,
  parts: readonly string[],
  faultsOf: (part: string) => string[],
  errors: FieldErrors,
): void {
  const wrong = parts.find((part) => faultsOf(part).length > 0);
  if (wrong === undefined) return;
  for (const fault of faultsOf(wrong))
    errors.invalid(field, value, `validating label ${JSON.stringify(wrong)}: ${fault}`);
}
