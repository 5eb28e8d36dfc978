import json, sys
log=open("/tmp/explore.txt","w")
def print(*a):
    log.write(" ".join(map(str,a))+"\n"); log.flush()
def test_x(crossing, run):
    r = run("label", crossing.name, "--json"); print(r[0], r[1][:3000], r[2])
    for b in ("3.3%", "20 clicks", "0.05h"):
        r = run("queries", crossing.name, "--budget", b, "--wish", "2%"); print(r[0], r[1], r[2])
    r = run("queries", crossing.name, "--budget", "20%", "--json"); print(r[0], r[2]); 
    v=json.loads(r[1]); print({k:v[k] for k in v if k!="queries"}); 
    for q in v["queries"]: print(q["question"], q["frame"], q["track"], q["probability"], q["cost"], q["gain"], q["text"], len(q["boxes"]), len(q["others"]))
    crossing.reload()
    print(crossing.get_frame_field_schema().keys(), crossing.get_field_schema().keys(), crossing.list_saved_views(), crossing.list_runs())
    r = run("simulate", crossing.name, "--gt", "ground_truth", "--budgets", "0,1,2,10"); print(r[0], r[1], r[2])
    r = run("simulate", crossing.name, "--gt", "ground_truth", "--budgets", "0,10", "--json"); print(r[0], r[1], r[2])
