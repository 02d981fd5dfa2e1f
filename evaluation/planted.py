"""Plain sentences of our own wording that are put into reports as faults; none is from a report.

Each is a statement that a careless draft could make, true of nobody in particular.
"""

from typing import Final

FINDINGS: Final = (
    ("pneumothorax", "There is a small left apical pneumothorax."),
    ("pleural_effusion", "There is a moderate right pleural effusion."),
    ("consolidation", "Consolidation is seen in the right lower lobe."),
    ("pulmonary_edema", "There is diffuse pulmonary edema."),
    ("cardiomegaly", "The heart is markedly enlarged."),
    ("lung_nodule", "There is a nodule in the left upper lobe."),
    ("lung_mass", "A mass is present in the right upper lobe."),
    ("atelectasis", "Atelectasis is noted at the left lung base."),
    ("rib_fracture", "There is a fracture of the left seventh rib."),
    ("pneumoperitoneum", "Free air is present beneath the right hemidiaphragm."),
    ("emphysema", "Emphysema is present in the upper lobes."),
    ("hiatal_hernia", "A large hiatal hernia is present."),
    ("pneumomediastinum", "Pneumomediastinum is present."),
    ("cavity", "There is a thick-walled cavity in the right upper lobe."),
    ("scoliosis", "There is scoliosis of the thoracic spine."),
    ("pneumonia", "The appearance is consistent with lingular pneumonia."),
    ("pulmonary_vascular_congestion", "Pulmonary vascular congestion is present."),
    ("pleural_thickening", "There is pleural thickening on the right."),
    ("hilar_lymphadenopathy", "There is bilateral hilar lymphadenopathy."),
    ("interstitial_lung_disease", "The pattern is that of interstitial lung disease."),
)
"""Findings by slug, each in a plain sentence."""
PRIORS: Final = (
    "There is no change from the previous study.",
    "Compared with the prior radiograph, the appearance is unchanged.",
    "The cardiomediastinal silhouette is stable.",
    "Aeration of the lungs has improved since the last examination.",
    "The previously seen opacity has resolved.",
    "No interval change.",
    "Findings are again demonstrated as before.",
    "The appearance has worsened in the interval.",
    "The pulmonary vasculature remains normal.",
    "Lung volumes have decreased compared to the earlier film.",
    "There is a new opacity at the left base.",
    "Persistent elevation of the right hemidiaphragm is noted.",
)
DEVICES: Final = (
    ("endotracheal_tube", "An endotracheal tube is present."),
    ("enteric_tube", "A nasogastric tube courses below the diaphragm."),
    ("picc", "A right PICC line ends in the superior vena cava."),
    ("central_venous_catheter", "There is a left internal jugular central venous catheter."),
    ("port_catheter", "A right chest port is in place."),
    ("pacemaker", "A left-sided dual-lead pacemaker is present."),
    ("chest_tube", "A right chest tube is in place."),
    ("sternal_wires", "Median sternotomy wires are intact."),
    ("valve_prosthesis", "A prosthetic heart valve is present."),
    ("spinal_hardware", "Posterior spinal fusion hardware is present."),
    ("tracheostomy_tube", "A tracheostomy tube is in the midline."),
    ("dialysis_catheter", "A tunneled dialysis catheter is seen."),
)
MEASURES: Final = (
    "The cardiac silhouette measures {n} cm across.",
    "The aortic arch measures {m} mm in diameter.",
    "The widest intercostal space measures {m} mm.",
    "The distance from the apex to the dome is {n} cm.",
    "A skin marker lies {n} x {k} cm from the midline.",
)
CLAIMS: Final = (
    "These results were discussed with the referring physician by telephone.",
    "The patient is status post liver transplant.",
    "There is a history of renal cell carcinoma.",
    "The finding corresponds to the abnormality seen on CT.",
    "Dr. Example was notified of this result.",
    "The patient presents with hemoptysis.",
    "The patient underwent bariatric surgery.",
    "MRI shows this to better advantage.",
)
EVENTS: Final = (
    "The endotracheal tube has been removed.",
    "There has been interval placement of a right chest tube.",
    "The left PICC line has been repositioned.",
    "There has been interval removal of the nasogastric tube.",
    "A new right internal jugular catheter is present.",
)
PLACES: Final = (
    "An opacity is present in the left middle lobe.",
    "Atelectasis is noted in the right lingula.",
    "There is consolidation of the left middle lobe.",
    "The right lingula shows an opacity.",
)
SITES: Final = (
    "There is a pneumothorax in the thoracic spine.",
    "There is consolidation in the stomach.",
    "A pleural effusion is present in the clavicle.",
    "There is a fracture in the left lower lobe.",
    "There is scoliosis in the right upper lobe.",
)
NORMALS: Final = (
    ("normal_heart_size", "The heart is normal in size."),
    ("clear_lungs", "The lungs are clear."),
    ("normal_pulmonary_vascularity", "The pulmonary vasculature is normal."),
    ("sharp_costophrenic_angles", "The costophrenic angles are sharp."),
    ("normal_lung_volumes", "Lung volumes are normal."),
    ("normal_hila", "The hila are normal."),
    ("normal_mediastinum", "The mediastinum is unremarkable."),
    ("normal_diaphragm", "The diaphragm is normal."),
)
"""Statements of normality by slug, each in a plain sentence."""
