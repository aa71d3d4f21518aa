package infra

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// guarded are the options of what holds data or opens it: `pulumi destroy` refuses it, and what is taken out of the program stays where it is.
func guarded(protect bool, opts ...pulumi.ResourceOption) []pulumi.ResourceOption {
	if !protect {
		return opts
	}
	return append(opts, pulumi.Protect(true), pulumi.RetainOnDelete(true))
}
