package main

// imageVerbs work on images, whether machines run from them or not.
func (a *app) imageVerbs() []verbRow {
	return []verbRow{
		{
			use: "list-images", short: "List the images that machines can start from", run: a.listImages, group: groupImages,
			options: "all full " + listOptions, columns: func() []columnText { return describe(imageList()) },
			long: "Hidden images, whose names begin with a dot, are shown with --all.",
			examples: []example{
				{"machctl list-images", ""},
				{"machctl list-images --sort -usage --columns name,usage", "the largest first"},
			},
		},
		{
			use: "clone NAME NEW", short: "Copy an image", min: 2, max: 2, run: a.clone, group: groupImages,
			options: "read-only quiet " + acting, words: words{wordImage, wordNone}, long: cloneHelp,
			examples: []example{{"machctl clone c8-ns c8-test", "next to nothing where the file system can share"}},
		},
		{
			use: "rename NAME NEW", short: "Give an image another name", min: 2, max: 2, run: a.rename, group: groupImages,
			options: acting, words: words{wordImage, wordNone}, long: renameHelp,
			examples: []example{{"machctl rename c8-test c8-new", ""}},
		},
		{
			use: "read-only NAME [yes|no]", short: "Make an image read-only, or writable", min: 1, max: 2, run: a.setReadOnly,
			group: groupImages, options: acting, words: words{wordImage, wordBool}, long: readOnlyHelp,
			examples: []example{{"machctl read-only c8-test no", "writable again"}},
		},
		{
			use: "remove NAME…", short: "Remove an image", min: 1, max: -1, run: a.remove, group: groupImages,
			options: "with-settings yes dry-run quiet " + listOptions + acting, words: words{wordImage}, long: removeHelp,
			columns:  func() []columnText { return describe(lossList()) },
			examples: []example{{"machctl remove c8-test", ""}},
		},
		{
			use: "set-limit [NAME] BYTES", short: "Limit what an image may take, or all together", min: 1, max: 2, run: a.setLimit,
			group: groupImages, options: acting, words: words{wordImage, wordNone}, long: setLimitHelp,
			examples: []example{{"machctl set-limit c8-ns 10G", ""}},
		},
		{
			use: "clean", short: "Remove hidden images, or all of them", run: a.clean, group: groupImages,
			options: "all yes dry-run quiet " + listOptions + acting, long: cleanHelp,
			columns:  func() []columnText { return describe(lossList()) },
			examples: []example{{"machctl clean", "downloads and half-made images that were left"}},
		},
	}
}
