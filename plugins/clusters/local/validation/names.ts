/** Names as DNS and Kubernetes want them, and the reason when they are not. */
const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const subdomain = `${label}(\\.${label})*`;
const label1035 = '[a-z]([-a-z0-9]*[a-z0-9])?';

const patterns = {
  label: new RegExp(`^${label}$`),
  subdomain: new RegExp(`^${subdomain}$`),
  label1035: new RegExp(`^${label1035}$`),
};

export type NameRule = 'subdomain' | 'label' | 'label1035' | 'path';

function tooLong(text: string, maximum: number): string[] {
  return text.length > maximum ? [`must be no more than ${maximum} bytes`] : [];
}

export function labelFaults(text: string): string[] {
  const faults = tooLong(text, 63);
  if (!patterns.label.test(text)) {
    faults.push(
      `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '${label}')`,
    );
  }
  return faults;
}

export function subdomainFaults(text: string): string[] {
  const faults = tooLong(text, 253);
  if (!patterns.subdomain.test(text)) {
    faults.push(
      `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '${subdomain}')`,
    );
  }
  return faults;
}

function label1035Faults(text: string): string[] {
  const faults = tooLong(text, 63);
  if (!patterns.label1035.test(text)) {
    faults.push(
      `a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '${label1035}')`,
    );
  }
  return faults;
}

/** Names that only have to be one segment of a URL's path (RBAC roles and bindings). */
export function pathSegmentFaults(text: string): string[] {
  if (text === '.' || text === '..') return [`may not be '${text}'`];
  const faults = ['/', '%'].filter((part) => text.includes(part)).map((part) => `may not contain '${part}'`);
  // Part of a key in the store, which is limited.
  return [...faults, ...tooLong(text, 253)];
}

export const nameFaults: Readonly<Record<NameRule, (text: string) => string[]>> = {
  subdomain: subdomainFaults,
  label: labelFaults,
  label1035: label1035Faults,
  path: pathSegmentFaults,
};

/** IANA service names: ports of containers and services. */
export function portNameFaults(text: string): string[] {
  const faults: string[] = [];
  if (text.length > 15) faults.push('must be no more than 15 characters');
  if (!/^[-a-z0-9]+$/.test(text)) faults.push('must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)');
  if (!/[a-z]/.test(text)) faults.push('must contain at least one letter (a-z)');
  if (text.includes('--')) faults.push('must not contain consecutive hyphens');
  if (text.startsWith('-') || text.endsWith('-')) faults.push('must not begin or end with a hyphen');
  return faults;
}

/** Keys of ConfigMaps and Secrets. */
export function configKeyFaults(text: string): string[] {
  const faults = tooLong(text, 253);
  if (!/^[-._a-zA-Z0-9]+$/.test(text)) {
    faults.push(
      "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
    );
  } else if (text === '.') faults.push("must not be '.'");
  else if (text === '..') faults.push("must not be '..'");
  else if (text.startsWith('..')) faults.push("must not start with '..'");
  return faults;
}

export function envNameFaults(text: string): string[] {
  if (text.length > 0 && /^[\x20-\x3c\x3e-\x7e]+$/.test(text)) return [];
  return ["a valid environment variable name must consist only of printable ASCII characters other than '='"];
}
