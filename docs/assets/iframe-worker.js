// Browsers allow no web worker on a page that was opened from a file. This one runs the script in a hidden frame instead,
// which is all that the search of Material for MkDocs needs.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.documentElement.appendChild(this.frame)
      const scope = this.frame.contentWindow
      scope.postMessage = data => setTimeout(() => this.dispatchEvent(new MessageEvent("message", { data })))
      this.loaded = new Promise((resolve, reject) => {
        const script = scope.document.createElement("script")
        script.onload = resolve
        script.onerror = reject
        script.src = url
        scope.document.body.appendChild(script)
      })
    }
    postMessage(data) {
      this.loaded.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() {
      this.frame.remove()
    }
  }
}
