package varlink

import (
	"context"
	"slices"
)

const serviceName = "org.varlink.service"

// serviceInterface is what every Varlink service has.
var serviceInterface = Interface[*Server]{
	Name: serviceName,
	Doc:  "What every Varlink service can be asked",
	Methods: []Method[*Server]{
		{
			Name: "GetInfo",
			Doc:  "Who serves here, and which interfaces",
			Out: Fields{
				{Name: "vendor", Type: String},
				{Name: "product", Type: String},
				{Name: "version", Type: String},
				{Name: "url", Type: String},
				{Name: "interfaces", Type: Array(String)},
			},
			Func: getInfo,
		},
		{
			Name: "GetInterfaceDescription",
			Doc:  "The text of one interface",
			In:   Fields{{Name: "interface", Type: String}},
			Out:  Fields{{Name: "description", Type: String}},
			Func: getInterfaceDescription,
		},
	},
	Errors: []ErrorType{
		{Name: "InterfaceNotFound", Doc: "There is no such interface", Fields: Fields{{Name: "interface", Type: String}}},
		{Name: "MethodNotFound", Doc: "There is no such method", Fields: Fields{{Name: "method", Type: String}}},
		{Name: "MethodNotImplemented", Doc: "The method exists but cannot be called", Fields: Fields{{Name: "method", Type: String}}},
		{Name: "InvalidParameter", Doc: "This field of the input is wrong, missing or unknown", Fields: Fields{{Name: "parameter", Type: String}}},
		{Name: "PermissionDenied", Doc: "The caller may not do this"},
		{Name: "ExpectedMore", Doc: "The method must be called with 'more'"},
	},
}

type serviceInfo struct {
	Vendor     string   `json:"vendor"`
	Product    string   `json:"product"`
	Version    string   `json:"version"`
	URL        string   `json:"url"`
	Interfaces []string `json:"interfaces"`
}

func getInfo(_ context.Context, s *Server, _ *Call) (any, error) {
	info := serviceInfo{
		Vendor:  s.config.Vendor,
		Product: s.config.Product,
		Version: s.config.Version,
		URL:     s.config.URL,
	}
	for _, i := range s.interfaces {
		info.Interfaces = append(info.Interfaces, i.name)
	}
	slices.Sort(info.Interfaces)
	return info, nil
}

type interfaceDescription struct {
	Description string `json:"description"`
}

func getInterfaceDescription(_ context.Context, s *Server, c *Call) (any, error) {
	name := c.In.String("interface")
	for _, i := range s.interfaces {
		if i.name == name {
			return interfaceDescription{i.text}, nil
		}
	}
	return nil, &Error{serviceName + ".InterfaceNotFound", interfaceNotFound{name}}
}

type interfaceNotFound struct {
	Interface string `json:"interface"`
}

// methodNotFound is also the answer if it is the interface that is unknown:
// the reference never says so.
func methodNotFound(name string) *Error {
	return &Error{serviceName + ".MethodNotFound", struct {
		Method string `json:"method"`
	}{name}}
}
