package providers

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// recorded is a stand-in whose resources are nowhere but in the stack's state.
type recorded struct {
	plugin.UnimplementedProvider
	name      string
	version   semver.Version
	resources map[tokens.Type]recipe
	log       *logger
}

// recipe is one resource type.
type recipe struct {
	args reflect.Type // of its inputs
	// name is the input that is made of the resource's name when it is missing.
	name resource.PropertyKey
	// frozen are the inputs whose change needs a new resource; "*" is all of them.
	frozen []string
	// secrets are outputs that are secret whatever the inputs are.
	secrets []resource.PropertyKey
	// make returns the id and what the resource adds to its inputs. before holds the outputs so far, or is nil.
	make func(r made) (resource.ID, resource.PropertyMap, error)
	// expired says that a resource must be made anew although nothing changed.
	expired func(outputs resource.PropertyMap) bool
}

// made is what a recipe knows.
type made struct {
	kind           tokens.Type
	inputs, before resource.PropertyMap
	config         resource.PropertyMap // the provider's
}

func (p *recorded) Handshake(context.Context, plugin.ProviderHandshakeRequest) (*plugin.ProviderHandshakeResponse, error) {
	return &plugin.ProviderHandshakeResponse{AcceptSecrets: true, AcceptResources: true}, nil
}

func (p *recorded) GetPluginInfo(context.Context) (plugin.PluginInfo, error) {
	return plugin.PluginInfo{Version: &p.version}, nil
}

func (p *recorded) SignalCancellation(context.Context) error { return nil }

func (p *recorded) CheckConfig(_ context.Context, r plugin.CheckConfigRequest) (plugin.CheckConfigResponse, error) {
	return plugin.CheckConfigResponse{Properties: r.News}, nil
}

func (p *recorded) DiffConfig(_ context.Context, r plugin.DiffConfigRequest) (plugin.DiffConfigResponse, error) {
	return inputDiff(r.OldInputs, r.NewInputs, func(path string) bool { return path == "region" }), nil
}

func (p *recorded) Configure(ctx context.Context, r plugin.ConfigureRequest) (plugin.ConfigureResponse, error) {
	s := sessionOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = r.Inputs
	return plugin.ConfigureResponse{}, nil
}

func configOf(ctx context.Context) resource.PropertyMap {
	s := sessionOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

func (p *recorded) recipe(t tokens.Type) (recipe, error) {
	r, ok := p.resources[t]
	if !ok {
		return recipe{}, fmt.Errorf("the %s stand-in has no %s: add it to test/cluster/providers", p.name, t)
	}
	return r, nil
}

func (p *recorded) Check(_ context.Context, r plugin.CheckRequest) (plugin.CheckResponse, error) {
	recipe, err := p.recipe(r.Type)
	if err != nil {
		return plugin.CheckResponse{}, err
	}
	if failures := mistyped(r.News, recipe.args); len(failures) > 0 {
		return plugin.CheckResponse{Failures: failures}, nil
	}
	inputs := r.News.Copy()
	if recipe.name == "" || inputs.HasValue(recipe.name) || inputs.HasValue(recipe.name+"Prefix") {
		return plugin.CheckResponse{Properties: inputs}, nil
	}
	if old, ok := r.Olds[recipe.name]; ok {
		inputs[recipe.name] = old
		return plugin.CheckResponse{Properties: inputs}, nil
	}
	name, err := resource.NewUniqueName(r.RandomSeed, r.Name+"-", 7, 0, nil)
	if err != nil {
		return plugin.CheckResponse{}, fmt.Errorf("naming %s: %w", r.URN, err)
	}
	inputs[recipe.name] = resource.NewProperty(name)
	return plugin.CheckResponse{Properties: inputs}, nil
}

func (p *recorded) Diff(_ context.Context, r plugin.DiffRequest) (plugin.DiffResponse, error) {
	recipe, err := p.recipe(r.Type)
	if err != nil {
		return plugin.DiffResponse{}, err
	}
	diff := inputDiff(r.OldInputs, r.NewInputs, func(path string) bool {
		return slices.ContainsFunc(recipe.frozen, func(f string) bool { return f == "*" || below(path, f) })
	})
	if diff.Changes == plugin.DiffNone && recipe.expired != nil && recipe.expired(plainMap(r.OldOutputs)) {
		return plugin.DiffResult{Changes: plugin.DiffSome, DetailedDiff: map[string]plugin.PropertyDiff{"readyForRenewal": {Kind: plugin.DiffUpdateReplace}}}, nil
	}
	// Two resources of one given name cannot be there at a time.
	diff.DeleteBeforeReplace = replacing(diff) && recipe.name != "" && r.OldInputs.HasValue(recipe.name) &&
		plain(r.OldInputs[recipe.name]).DeepEquals(plain(r.NewInputs[recipe.name]))
	return diff, nil
}

func (p *recorded) Create(ctx context.Context, r plugin.CreateRequest) (plugin.CreateResponse, error) {
	recipe, err := p.recipe(r.Type)
	if err != nil {
		return plugin.CreateResponse{}, err
	}
	if r.Preview {
		return plugin.CreateResponse{Properties: r.Properties}, nil
	}
	id, outputs, err := recipe.outputs(made{kind: r.Type, inputs: r.Properties, config: configOf(ctx)})
	if err != nil {
		return plugin.CreateResponse{}, fmt.Errorf("making %s: %w", r.URN, err)
	}
	p.log.printf("%s: made %s %s", p.name, r.Type, id)
	return plugin.CreateResponse{ID: id, Properties: outputs, Status: resource.StatusOK}, nil
}

func (p *recorded) Update(ctx context.Context, r plugin.UpdateRequest) (plugin.UpdateResponse, error) {
	recipe, err := p.recipe(r.Type)
	if err != nil {
		return plugin.UpdateResponse{}, err
	}
	if r.Preview && r.NewInputs.ContainsUnknowns() {
		return plugin.UpdateResponse{Properties: r.NewInputs}, nil
	}
	_, outputs, err := recipe.outputs(made{kind: r.Type, inputs: r.NewInputs, before: r.OldOutputs, config: configOf(ctx)})
	if err != nil {
		return plugin.UpdateResponse{}, fmt.Errorf("updating %s: %w", r.URN, err)
	}
	if !r.Preview {
		p.log.printf("%s: updated %s %s", p.name, r.Type, r.ID)
	}
	return plugin.UpdateResponse{Properties: outputs, Status: resource.StatusOK}, nil
}

// outputs are the inputs, what the recipe adds, and, on an update, what was there and is neither.
func (r recipe) outputs(m made) (resource.ID, resource.PropertyMap, error) {
	secret := m.inputs
	m.inputs, m.before = plainMap(m.inputs), plainMap(m.before)
	id, added, err := r.make(m)
	if err != nil {
		return "", nil, err
	}
	outputs := m.inputs.Copy()
	for k, v := range added {
		if old, ok := m.before[k]; ok {
			v = old // an id, an arn or a key does not change with a tag
		}
		outputs[k] = v
	}
	outputs = markSecrets(outputs, secret)
	for _, k := range r.secrets {
		if v, ok := outputs[k]; ok && !v.IsSecret() {
			outputs[k] = resource.MakeSecret(v)
		}
	}
	return id, outputs, nil
}

func (p *recorded) Read(_ context.Context, r plugin.ReadRequest) (plugin.ReadResponse, error) {
	if len(r.State) == 0 {
		return plugin.ReadResponse{}, fmt.Errorf("the %s stand-in has no %s %s: it knows only what stacks made", p.name, r.Type, r.ID)
	}
	return plugin.ReadResponse{ReadResult: plugin.ReadResult{ID: r.ID, Inputs: r.Inputs, Outputs: r.State}, Status: resource.StatusOK}, nil
}

func (p *recorded) Delete(_ context.Context, r plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	p.log.printf("%s: deleted %s %s", p.name, r.Type, r.ID)
	return plugin.DeleteResponse{Status: resource.StatusOK}, nil
}

func (p *recorded) Invoke(_ context.Context, r plugin.InvokeRequest) (plugin.InvokeResponse, error) {
	return plugin.InvokeResponse{}, fmt.Errorf("the %s stand-in has no function %s: the stacks ask for none", p.name, r.Tok)
}
